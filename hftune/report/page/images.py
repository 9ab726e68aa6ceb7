"""Images for the page: the worst errors, the surest answers, and what augmentation feeds."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch
from PIL.Image import Image, Resampling
from PIL.Image import fromarray as from_array

from hftune.core import Split, Splits
from hftune.data.cached_rows import read_decoded
from hftune.data.image_input import train_transform
from hftune.data.order import augmentation_random
from hftune.data.sources import open_splits
from hftune.errors import DataError, HftuneError
from hftune.hub.card_text import split_title
from hftune.metrics import as_scores
from hftune.recipe import load_recipe
from hftune.recipe.schema import Recipe
from hftune.report.page.html import card, gallery, paragraph, photograph, section
from hftune.train.predictions import read_predictions
from hftune.train.run_facts import ModelRecord, read_model_record
from hftune.train.run_folder import check_same_data

SHOWN = 12
_AUGMENTED, _VIEWS = 4, 4
_SIDE = 224
_QUALITY = 80


@dataclass(frozen=True, kw_only=True)
class _Answer:
    row: int
    given: int
    score: float
    true: int
    loss: float


def image_sections(run: Path) -> list[str]:
    """Give the sections with images of a run's own data; a note where the data are not there."""
    recipe = load_recipe(run / "recipe.yaml")
    try:
        splits = open_splits(recipe.data, problem=recipe.problem)
        check_same_data(run, splits)
    except HftuneError as error:
        reason = f"The images of this run are not shown: {error.problem}."
        return [section("Images", paragraph(reason))]
    model = read_model_record(run)
    return [*_answers(run, model, splits, recipe), _augmentation(recipe, model, splits)]


def _answers(run: Path, model: ModelRecord, splits: Splits, recipe: Recipe) -> Iterator[str]:
    """Give the worst errors and the surest right answers, with one label per image only."""
    split = splits.test or splits.val
    said = read_predictions(run, split.name)
    if model.problem != "single_label" or said is None or len(said.targets) != len(split):
        return
    losses = torch.nn.functional.cross_entropy(said.logits, said.targets, reduction="none")
    best, given = as_scores(said.logits, problem=model.problem).max(1)
    answers = [
        _Answer(row=row, given=int(g), score=float(s), true=int(t), loss=float(loss))
        for row, (g, s, t, loss) in enumerate(zip(given, best, said.targets, losses, strict=True))
    ]
    shown = read_decoded(split, recipe.data)
    wrong = sorted((a for a in answers if a.given != a.true), key=lambda a: -a.loss)
    right = sorted((a for a in answers if a.given == a.true), key=lambda a: -a.score)
    title = split_title(split.name)
    count = f"{len(wrong)} of {len(answers)} {title} images are answered wrongly."
    yield section(
        "Worst errors",
        paragraph(f"{count} Those with the largest loss first."),
        gallery(_cards(shown, wrong[:SHOWN], model)),
    )
    yield section("Surest right answers", gallery(_cards(shown, right[:SHOWN], model)))


def _cards(split: Split, answers: list[_Answer], model: ModelRecord) -> Iterator[str]:
    for answer in answers:
        try:
            image = split.rows.image(answer.row)
        except DataError:
            continue
        given, true = model.label_names[answer.given], model.label_names[answer.true]
        lines = [f"{given} {answer.score:.1%}"]
        if answer.given != answer.true:
            lines.append(f"is {true}")
        name = split.rows.key(answer.row)
        yield card(photograph(jpeg_of(image), says=f"{name}: {given}"), *lines, name)


def _augmentation(recipe: Recipe, model: ModelRecord, splits: Splits) -> str:
    """Show what the model is fed of a few training images, each drawn anew."""
    transform = train_transform(model.input_spec, recipe.data.augment)
    cards = []
    step = max(1, len(splits.train) // _AUGMENTED)
    for row in range(0, min(len(splits.train), step * _AUGMENTED), step):
        for turn in range(_VIEWS):
            rng = augmentation_random(recipe.train.seed, turn * len(splits.train), row)
            try:
                pixels = transform(splits.train.rows.image(row), rng)
            except HftuneError:
                break
            array = pixels.permute(1, 2, 0).squeeze(-1).numpy()
            name = splits.train.rows.key(row)
            cards.append(card(photograph(jpeg_of(from_array(array)), says=name), name))
    names = ", ".join(part.name for part in recipe.data.augment) or "no augmentation"
    what = f"{_AUGMENTED} training images as the model sees them in {_VIEWS} epochs: {names}."
    return section("What the model is fed", paragraph(what), gallery(cards))


def jpeg_of(image: Image) -> bytes:
    """Give an image as a JPEG of at most 224 pixels a side."""
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE), Resampling.LANCZOS)
    stream = BytesIO()
    small.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
