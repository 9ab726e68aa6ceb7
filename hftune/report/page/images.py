"""The sections that need the run's own data: answers with their images, and augmentation."""

from collections.abc import Iterator
from itertools import chain

from hftune.core import Splits
from hftune.data.image_input import TrainTransform, train_transform
from hftune.data.order import augmentation_random
from hftune.data.sources import open_splits
from hftune.errors import HftuneError
from hftune.report.finished import FinishedRun
from hftune.report.overlay import jpeg_of, picture_of
from hftune.report.page.gallery import answer_sections
from hftune.report.page.html import card, gallery, paragraph, photograph, section
from hftune.train.run_folder import check_same_data

_IMAGES, _VIEWS = 4, 4


def image_sections(run: FinishedRun) -> list[str]:
    """Give the sections with images of a run's own data; a note where the data are not there."""
    try:
        splits = open_splits(run.recipe.data, problem=run.recipe.problem)
        check_same_data(run.folder, splits)
    except HftuneError as error:
        reason = f"The images of this run are not shown: {error.problem}."
        return [section("Images", paragraph(reason))]
    return [*answer_sections(run, splits), _augmentation(run, splits)]


def _augmentation(run: FinishedRun, splits: Splits) -> str:
    """Show what the model is fed of a few training images, each drawn anew."""
    recipe = run.recipe
    transform = train_transform(run.model.input_spec, recipe.data.augment)
    step = max(1, len(splits.train) // _IMAGES)
    rows = list(range(0, len(splits.train), step))[:_IMAGES]
    cards = chain.from_iterable(
        _views(splits, row, transform, seed=recipe.train.seed) for row in rows
    )
    names = ", ".join(part.name for part in recipe.data.augment) or "no augmentation"
    what = f"{len(rows)} training images as the model sees them in {_VIEWS} epochs: {names}."
    return section("What the model is fed", paragraph(what), gallery(cards, views=1))


def _views(splits: Splits, row: int, transform: TrainTransform, *, seed: int) -> Iterator[str]:
    """Give a training image as it is in the first epochs; nothing where it cannot be made."""
    name = splits.train.rows.key(row)
    for epoch in range(_VIEWS):
        rng = augmentation_random(seed, epoch * len(splits.train), row)
        try:
            pixels = transform(splits.train.rows.image(row), rng)
        except HftuneError:
            return
        shown = photograph(jpeg_of(picture_of(pixels)), says=f"{name}, epoch {epoch + 1}")
        yield card([shown], [f"epoch {epoch + 1}"], name)
