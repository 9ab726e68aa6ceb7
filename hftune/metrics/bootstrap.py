"""Resamples of the images of a split, and the interval that a metric has over them. NumPy only."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Bools = NDArray[np.bool_]

# How often each image was drawn, int64 [B, N], to a run's metric in each of the B resamples [B].
Measure = Callable[[Counts], Floats]

LEVEL = 0.95
TIMES = 2000
# Counts in one block of resamples: few enough to stay in the processor's cache.
_BLOCK = 60_000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with the lower and upper end of its interval."""

    value: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Say whether `value` lies in the interval, its ends included."""
        return self.low <= value <= self.high


def percentile_interval(value: float, draws: Floats) -> Interval:
    """Give the 95 % percentile interval of bootstrap `draws` [B] (Efron and Tibshirani 1993).

    Undefined draws (NaN) are left out.
    """
    low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=value, low=float(low), high=float(high))


def draw_images(generator: np.random.Generator, num_images: int, *, times: int) -> Iterator[Counts]:
    """Give how often each image is drawn, int64 [b, N], in blocks of `times` resamples in all.

    A resample draws as many images as there are, with replacement and whatever their class: how
    many images of a class a split holds is chance as well. The blocks' size changes no draw.
    """
    rows = max(1, _BLOCK // num_images)
    for start in range(0, times, rows):
        size = min(rows, times - start)
        drawn = generator.integers(num_images, size=(size, num_images))
        drawn += num_images * np.arange(size)[:, None]  # a range of its own for each resample
        counted = np.bincount(drawn.ravel(), minlength=size * num_images)
        yield counted.reshape(size, num_images)
