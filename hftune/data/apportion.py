"""Whole seats in proportion to sizes."""

import numpy as np
from numpy.typing import NDArray


def apportion(
    sizes: NDArray[np.int64] | NDArray[np.float64],
    total: int,
    *,
    least: NDArray[np.int64],
    most: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Share `total` seats out in proportion to `sizes` by largest remainders, within bounds.

    Where the bounds leave no other choice the seats differ from `total`. Ties go to the first.
    """
    quota = sizes * (total / max(1, sizes.sum()))
    seats: NDArray[np.int64] = np.clip(np.floor(quota).astype(np.int64), least, most)
    while seats.sum() < total and (seats < most).any():
        seats[np.argmax(np.where(seats < most, quota - seats, -np.inf))] += 1
    while seats.sum() > total and (seats > least).any():
        seats[np.argmin(np.where(seats > least, quota - seats, np.inf))] -= 1
    return seats
