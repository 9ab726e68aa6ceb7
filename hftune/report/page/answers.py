"""Which answers of a run are worth showing: the worst errors, and the surest right ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hftune.metrics import THRESHOLD, as_scores
from hftune.report.finished import FinishedRun
from hftune.train.predictions import Predictions

SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was said about the image in `row`, in `lines`, and the outputs to explain.

    `asked` maps the position of an output to what is written below its heat map.
    """

    row: int
    lines: tuple[str, ...]
    asked: dict[int, str]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers to show, at most a dozen of each, and what their sections say."""

    worst: tuple[Answer, ...]
    worst_note: str
    surest: tuple[Answer, ...]
    surest_title: str
    surest_note: str


def choose_answers(run: FinishedRun, said: Predictions, images: str) -> Answers:
    """Choose among all images of a split; `images` names them in a sentence."""
    chooser = {"single_label": _of_classes, "multi_label": _of_labels, "regression": _of_numbers}
    return chooser[run.model.problem](run.model.label_names, said, images)


def _of_classes(names: tuple[str, ...], said: Predictions, images: str) -> Answers:
    """Rank errors by their loss, and right answers by their score."""
    losses = torch.nn.functional.cross_entropy(said.logits, said.targets.long(), reduction="none")
    best, given = as_scores(said.logits, problem="single_label").max(1)
    right = given == said.targets

    def answer(row: int) -> Answer:
        says, true = int(given[row]), int(said.targets[row])
        lines = [f"{names[says]} {float(best[row]):.1%}"]
        if says != true:
            lines.append(f"is {names[true]}")
        return Answer(row=row, lines=tuple(lines), asked={one: names[one] for one in (says, true)})

    wrong = int((~right).sum())
    return Answers(
        worst=tuple(map(answer, _first(losses, among=~right))),
        worst_note=f"{_count(wrong, len(right), images)} answered wrongly."
        + " Those with the largest loss first." * (wrong > 1),
        surest=tuple(map(answer, _first(best, among=right))),
        surest_title="Surest right answers",
        surest_note="Those with the highest score first.",
    )


def _of_labels(names: tuple[str, ...], said: Predictions, images: str) -> Answers:
    """Rank images by the label that is most in the wrong, and by the surest that is right."""
    targets = said.targets.to(said.logits.dtype)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        said.logits, targets, reduction="none"
    )
    scores = as_scores(said.logits, problem="multi_label")
    wrong = (scores >= THRESHOLD) != (targets >= THRESHOLD)
    worst_loss, worst_label = losses.max(1)
    found = torch.where((targets >= THRESHOLD) & ~wrong, scores, -1.0)
    best, best_label = found.max(1)

    def answer(row: int, label: int) -> Answer:
        is_there = bool(targets[row, label] >= THRESHOLD)
        truth = [names[one] for one in torch.nonzero(targets[row] >= THRESHOLD)[:, 0].tolist()]
        lines = [f"{names[label]} {float(scores[row, label]):.1%}"]
        if bool(wrong[row, label]):
            lines.append("is there" if is_there else "is not there")
        lines.append(f"has {', '.join(truth)}" if truth else "has none of the labels")
        return Answer(row=row, lines=tuple(lines), asked={label: names[label]})

    any_wrong = wrong.any(1)
    return Answers(
        worst=tuple(
            answer(row, int(worst_label[row])) for row in _first(worst_loss, among=any_wrong)
        ),
        worst_note=f"{_count(int(any_wrong.sum()), len(any_wrong), images)} given a wrong label, or"
        " not given a right one. Those with the largest loss of one label first.",
        surest=tuple(answer(row, int(best_label[row])) for row in _first(best, among=best >= 0)),
        surest_title="Surest right labels",
        surest_note="The labels that are there and have the highest scores.",
    )


def _of_numbers(names: tuple[str, ...], said: Predictions, images: str) -> Answers:
    """Rank images by how far the predicted number is from the true one."""
    given, true = said.logits[:, 0], said.targets[:, 0]
    errors = (given - true).abs()

    def answer(row: int) -> Answer:
        lines = (f"{float(given[row]):.4g}", f"is {float(true[row]):.4g}")
        return Answer(row=row, lines=lines, asked={0: f"more {names[0]}"})

    every = torch.ones_like(errors, dtype=torch.bool)
    return Answers(
        worst=tuple(map(answer, _first(errors, among=every))),
        worst_note=f"Of {len(errors):,} {images} images, those whose number is farthest off.",
        surest=tuple(map(answer, _first(-errors, among=every))),
        surest_title="Closest answers",
        surest_note="Those whose number is nearest to the true one.",
    )


def _first(values: Tensor, *, among: Tensor) -> list[int]:
    """Give the rows `among` all with the highest values, the highest first, a dozen at most."""
    order = values.argsort(descending=True, stable=True)
    rows: list[int] = order[among[order]][:SHOWN].tolist()
    return rows


def _count(part: int, total: int, images: str) -> str:
    return f"{part:,} of {total:,} {images} images {'is' if part == 1 else 'are'}"
