"""A published model that learns on: what it said of its classes before, and what it says now.

Where every class of the base is a class still, with its own row of the head, the model says before
the first step what the base says. That is kept in `predictions/`, and compared in the end with what
the best weights say of the same images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from hftune.core import (
    HeadStart,
    LabelSpace,
    Model,
    OldClass,
    OldClasses,
    ProblemName,
    RunPlan,
    Splits,
)
from hftune.metrics import MetricValues, compute_metrics
from hftune.train.evaluate import compute_logits, make_judge
from hftune.train.predictions import (
    Predictions,
    predictions_file,
    predictions_from,
    read_predictions,
    write_predictions,
)
from hftune.train.world import from_first, make_accelerator


def ask_base(plan: RunPlan, model: Model, splits: Splits, *, run: Path) -> None:
    """Keep what the base says of validation and test, where all its classes are classes still.

    Called by every rank before a checkpoint is restored into `model`; asks once in the life of a
    run. Side effect: moves the model to the device and leaves it in evaluation mode.
    """
    judged = [split for split in (splits.val, splits.test) if split is not None]
    known = all(predictions_file(run, _said_by_base(split.name)).is_file() for split in judged)
    if not has_all_of_base(model.weights.head) or from_first(known):
        return
    accelerator = make_accelerator(plan.precision)
    judge = make_judge(accelerator, plan.recipe, model, labels=splits.labels)
    model.module.to(accelerator.device).to(memory_format=judge.layout)
    for split in judged:
        outputs = compute_logits(judge, model.module, split)
        assert outputs is not None  # only a Control cuts it short
        if accelerator.is_main_process:
            said = predictions_from(split, outputs)
            write_predictions(run, replace(said, split=_said_by_base(split.name)))


def has_all_of_base(start: HeadStart | None) -> bool:
    """Say whether every class of the base, of two at least, has a class of today with its row."""
    if start is None or start.num_base < 2:
        return False
    return len(start.kept) == start.num_found == start.num_base


def compare_with_base(
    run: Path, start: HeadStart | None, labels: LabelSpace, *, problem: ProblemName
) -> tuple[OldClasses, ...]:
    """Compare for each split what the base said of its classes with what the run says now.

    Empty where nothing was kept of the base. Raises RunFolderError for a damaged file.
    """
    if start is None or not has_all_of_base(start):
        return ()
    compare = _compare_several if problem == "multi_label" else _compare_one
    found = []
    for split in ("val", "test"):
        base, now = read_predictions(run, _said_by_base(split)), read_predictions(run, split)
        if base is not None and now is not None and base.digest == now.digest:
            found.append(compare(base, now, tuple(start.kept), labels))
    return tuple(one for one in found if one is not None)


def _compare_one(
    base: Predictions, now: Predictions, names: Sequence[str], labels: LabelSpace
) -> OldClasses | None:
    """Compare where each image has one label; None where no image has one of these `names`."""
    old = torch.tensor([labels.index[name] for name in names])
    rows = torch.isin(now.targets, old)
    if not bool(rows.any()):
        return None
    place = torch.zeros(labels.size, dtype=torch.int64)
    place[old] = torch.arange(len(old))
    targets, said = now.targets[rows], now.logits[rows]
    then = compute_metrics(
        ("accuracy",),
        base.logits[rows][:, old],
        place[targets],
        LabelSpace(names=tuple(names)),
        problem="single_label",
    )
    today = compute_metrics(("accuracy",), said, targets, labels, problem="single_label")
    lost = ~torch.isin(said.argmax(dim=1), old)
    to_new = {name: float(lost[targets == labels.index[name]].float().mean()) for name in names}
    return _record(now.split, (then, today), "accuracy", to_new, num_new=labels.size - len(names))


def _compare_several(
    base: Predictions, now: Predictions, names: Sequence[str], labels: LabelSpace
) -> OldClasses:
    """Compare where an image may have several labels, each of which is told by itself."""
    old = torch.tensor([labels.index[name] for name in names])
    then, today = (
        compute_metrics(
            ("macro_f1",),
            said.logits[:, old],
            said.targets[:, old],
            LabelSpace(names=tuple(names), multi=True),
            problem="multi_label",
        )
        for said in (base, now)
    )
    none = dict.fromkeys(names, 0.0)
    return _record(now.split, (then, today), "macro_f1", none, num_new=labels.size - len(names))


def _record(
    split: str,
    values: tuple[MetricValues, MetricValues],
    metric: str,
    to_new: Mapping[str, float],
    *,
    num_new: int,
) -> OldClasses:
    """Put together what both `values` say of the classes in `to_new` that the split has."""
    then, today = values
    key = "recall" if metric == "accuracy" else "f1"
    return OldClasses(
        split=split,
        before=then.values[metric],
        after=today.values[metric],
        num_new=num_new,
        classes={
            name: OldClass(
                images=int(then.per_class[name]["count"]),
                before=then.per_class[name][key],
                after=today.per_class[name][key],
                to_new=share,
            )
            for name, share in to_new.items()
            if key in then.per_class[name] and key in today.per_class[name]
        },
    )


def _said_by_base(split: str) -> str:
    return f"{split}-base"
