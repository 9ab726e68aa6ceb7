"""Which row stands in for one that cannot be read, whatever the pattern of bad rows."""

from collections.abc import Collection
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hftune.core import Split
from hftune.data.substitute import (
    bad_image,
    bad_images_error,
    read_or_next,
    read_or_stop,
)
from hftune.errors import DataError
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


def test_no_readable_row_is_an_error_that_says_what_was_wanted() -> None:
    with pytest.raises(DataError) as caught:
        read_or_next(damaged(range(NUMBER)), 7)
    check_text(caught.value, "no_image_left")


def test_images_gone_bad_are_named_with_their_reasons() -> None:
    split = damaged({2, 5})
    error = DataError("this image cannot be read", found="cut short")
    bad = [bad_image(split, row, error) for row in range(7)]
    check_text(bad_images_error(split, bad), "images_gone_bad")
