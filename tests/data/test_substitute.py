"""Which row stands in for one that cannot be read, whatever the pattern of bad rows."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hftune.core import Split
from hftune.data.sources import open_splits
from hftune.data.substitute import (
    bad_image,
    bad_images_error,
    read_or_next,
    read_or_stop,
)
from hftune.errors import DataError
from hftune.recipe.schema import Component, DataRecipe
from tests.data.conftest import DrawnRows, check_text, drawn_split

NUMBER = 12
GOOD = DrawnRows(NUMBER)


class DamagedRows:
    """Rows of which some cannot be read, and how often each was asked for."""

    def __init__(self, bad: Collection[int]) -> None:
        self.bad = frozenset(bad)
        self.targets = GOOD.targets
        self.asked: list[int] = []

    def __len__(self) -> int:
        return NUMBER

    def image(self, row: int) -> Image.Image:
        self.asked.append(row)
        if row in self.bad:
            raise DataError("this image cannot be read", found="cut short", where=self.key(row))
        return GOOD.image(row)

    def key(self, row: int) -> str:
        return f"cats/{row}.png"


def damaged(bad: Collection[int]) -> Split:
    return replace(drawn_split(1), rows=DamagedRows(bad))


@settings(max_examples=200, deadline=None)
@given(bad=st.sets(st.integers(0, NUMBER - 1)), wanted=st.integers(0, NUMBER - 1))
def test_the_first_readable_row_at_or_after_the_wanted_one_stands_in(
    bad: set[int], wanted: int
) -> None:
    split = damaged(bad)
    if len(bad) == NUMBER:
        with pytest.raises(DataError, match="none of the 12 images"):
            read_or_next(split, wanted)
        return
    shown = read_or_next(split, wanted)
    assert shown.row not in bad
    assert shown.image is GOOD.image(shown.row)
    passed = [(wanted + step) % NUMBER for step in range((shown.row - wanted) % NUMBER)]
    assert set(passed) <= bad
    assert [one.row for one in shown.missed] == passed[:1]
    assert split.rows.asked == [*passed, shown.row]  # type: ignore[attr-defined]


def test_the_wanted_row_alone_is_read_where_a_bad_one_stops_the_run() -> None:
    assert read_or_stop(damaged({3}), 4).row == 4
    with pytest.raises(DataError, match="cannot be read"):
        read_or_stop(damaged({3}), 3)


@pytest.fixture
def opened(make_folder: Callable[[Mapping[str, int]], Path]) -> Split:
    """Six images of two classes, on the disk and looked at once."""
    make_folder({"train/cat": 3, "train/dog": 3, "val/cat": 1, "val/dog": 1})
    source = Component(name="image_folder", options={"path": "images"})
    return open_splits(DataRecipe(source=source), problem="single_label").train


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(Path.unlink, "FileNotFoundError"), (cut, "OSError"), (Path.touch, None)],
)
def test_a_file_that_goes_bad_after_the_scan_is_replaced(
    opened: Split, spoil: Callable[[Path], None], reason: str | None
) -> None:
    before = [opened.rows.image(row).tobytes() for row in range(6)]
    spoil(Path("images/train/cat/002.png"))
    shown = read_or_next(opened, 2)
    if reason is None:  # a file whose time alone has changed is as good as ever
        assert (shown.row, shown.missed) == (2, ())
        return
    assert shown.row == 3
    assert opened.rows.key(3) == "train/dog/000.png"
    assert shown.image.tobytes() == before[3]
    (missed,) = shown.missed
    assert (missed.split, missed.row, missed.name) == ("train", 2, "train/cat/002.png")
    assert missed.reason.startswith(reason)
    with pytest.raises(DataError, match="cannot be read"):
        read_or_stop(opened, 2)


def test_no_readable_row_is_an_error_that_says_what_was_wanted() -> None:
    with pytest.raises(DataError) as caught:
        read_or_next(damaged(range(NUMBER)), 7)
    check_text(caught.value, "no_image_left")


def test_images_gone_bad_are_named_with_their_reasons() -> None:
    split = damaged({2, 5})
    error = DataError("this image cannot be read", found="cut short")
    bad = [bad_image(split, row, error) for row in range(7)]
    check_text(bad_images_error(split, bad), "images_gone_bad")
