"""What stands in a batch for a training image that cannot be read: the next one that can."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PIL.Image import Image

from hftune.core import BadImage, Split
from hftune.errors import DataError

OnBadImage = Literal["stop", "skip", "quarantine"]

_SHOWN = 5
_REMEDY = (
    "bring back what was there and run the same command again; a new run can do without such"
    " images: data.on_bad_image=skip"
)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An image and its row; `missed` holds the wanted row where that is another one."""

    row: int
    image: Image
    missed: tuple[BadImage, ...] = ()


def read_or_stop(split: Split, wanted: int) -> Shown:
    """Read the wanted row. Raises DataError where it cannot be read."""
    try:
        return Shown(row=wanted, image=split.rows.image(wanted))
    except DataError as error:
        error.remedy = _REMEDY
        raise


def read_or_next(split: Split, wanted: int) -> Shown:
    """Read the wanted row, or the first one after it that can be read; the last row's next is 0.

    Which one it is depends on the row and on which rows are bad, not on who asks, nor in which
    order. Raises DataError where no row of the split can be read.
    """
    missed: tuple[BadImage, ...] = ()
    for distance in range(len(split)):
        row = (wanted + distance) % len(split)
        try:
            image = split.rows.image(row)
        except DataError as error:
            missed = missed or (bad_image(split, row, error),)
            continue
        return Shown(row=row, image=image, missed=missed)
    raise nothing_left_error(split, missed)


def bad_image(split: Split, row: int, error: DataError) -> BadImage:
    """Give what is known of a row that cannot be read."""
    reason = error.found or error.problem
    return BadImage(split=split.name, row=row, name=split.rows.key(row), reason=reason)


def bad_images_error(split: Split, bad: Sequence[BadImage]) -> DataError:
    """Give the error about images of a split that went bad since the run looked at them first."""
    return DataError(
        f"{len(bad)} of the {len(split)} images of '{split.name}' cannot be read",
        found=describe_bad(bad),
        remedy=_REMEDY,
    )


def nothing_left_error(split: Split, bad: Sequence[BadImage]) -> DataError:
    """Give the error about a split of which no image can be read; `bad` are some of them."""
    return DataError(
        f"none of the {len(split)} images of '{split.name}' can be read any more",
        found=describe_bad(bad),
        remedy="bring the images back and run the same command again",
    )


def describe_bad(bad: Sequence[BadImage]) -> str:
    """Name the first bad images with their reasons, a line each, and count the rest."""
    lines = [f"{one.name}: {one.reason}" for one in bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        lines.append(f"and {len(bad) - _SHOWN} more")
    return "\n".join(lines)
