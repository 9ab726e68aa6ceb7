"""Against Hamilton's method by hand."""

import numpy as np
import pytest

from hftune.data.apportion import apportion


@pytest.mark.parametrize(
    ("sizes", "total", "expected"),
    [
        # Hamilton's method by hand: quotas 4.3, 3.4, 2.3 -> 4, 3, 2, and one seat to 0.4.
        ([43, 34, 23], 10, [4, 4, 2]),
        ([10, 10, 10], 4, [2, 1, 1]),  # ties go to the first
        ([100, 1, 1], 5, [5, 0, 0]),
        ([0, 4], 2, [0, 2]),
    ],
)
def test_seats_go_by_largest_remainders(sizes: list[int], total: int, expected: list[int]) -> None:
    given_sizes = np.array(sizes)
    seats = apportion(given_sizes, total, least=np.zeros_like(given_sizes), most=given_sizes)
    assert seats.tolist() == expected


def test_bounds_come_before_proportion() -> None:
    sizes = np.array([100, 2, 1])
    seats = apportion(sizes, 5, least=np.array([1, 1, 0]), most=sizes - 1)
    assert seats.tolist() == [4, 1, 0]
