"""Statistics of several runs judged on the same images: intervals, counts, what more would show.

NumPy only. Values are indexed [arm, seed]: an arm is a recipe, a run is one arm with one seed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from hftune.metrics.bootstrap import (
    LEVEL,
    TIMES,
    Bools,
    Counts,
    Floats,
    Interval,
    Measure,
    draw_images,
    percentile_interval,
)

# What a sample size is worked out for: the share of repetitions that would show the difference.
POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """Metrics of all runs, as they are [A, S] and on the same resamples of the images [B, A, S].

    `seeds` [B, S] says which seeds each resample drew, the same for every arm.
    """

    values: Floats
    draws: Floats
    seeds: Counts
    num_images: int

    def arm(self, arm: int) -> Interval:
        """Give an arm's mean over its seeds."""
        return percentile_interval(float(self.values[arm].mean()), self._drawn(arm))

    def difference(self, first: int, second: int) -> Interval:
        """Give the first arm's mean less the second's, resample by resample."""
        value = float(self.values[first].mean() - self.values[second].mean())
        return percentile_interval(value, self._drawn(first) - self._drawn(second))

    def image_variance(self, first: int, second: int) -> float:
        """Give the variance of the difference over other images, with these seeds."""
        means = self.draws.mean(axis=2)
        return float(np.nanvar(means[:, first] - means[:, second]))

    def seed_variance(self, first: int, second: int) -> float:
        """Give the variance of the difference over other seeds, on these images; 0 for one seed."""
        differences = self.values[first] - self.values[second]
        if len(differences) == 1:
            return 0.0
        return float(differences.var(ddof=1)) / len(differences)

    def needed(self, first: int, second: int) -> "Needed":
        """Say what it would take to show the difference of two arms, were it as large as seen."""
        return needed(
            float(self.values[first].mean() - self.values[second].mean()),
            image_variance=self.image_variance(first, second),
            seed_variance=self.seed_variance(first, second),
            num_images=self.num_images,
            num_seeds=self.values.shape[1],
        )

    def _drawn(self, arm: int) -> Floats:
        """Give an arm's mean over the seeds of each resample [B]."""
        means: Floats = np.take_along_axis(self.draws[:, arm], self.seeds, axis=1).mean(axis=1)
        return means


def resample(
    measures: Sequence[Sequence[Measure]], *, num_images: int, times: int = TIMES, seed: int = 0
) -> Resampled:
    """Measure every run, as `measures` [arm][seed] say, on the images and on resamples of them.

    A resample draws `num_images` images with replacement, and as many seeds as there are with
    replacement; every arm gets the same draws. One seed leaves the images alone. This is the
    bootstrap of two crossed factors (Owen 2007, "The pigeonhole bootstrap"), paired over arms as
    in Koehn 2004. Deterministic by `seed`. A metric that a resample leaves undefined is NaN there.
    """
    num_seeds = len(measures[0])
    whole = np.ones((1, num_images), dtype=np.int64)
    values = _measured(measures, whole)[0]
    images, runs = (np.random.default_rng([seed, part]) for part in (0, 1))
    blocks = [
        _measured(measures, counts) for counts in draw_images(images, num_images, times=times)
    ]
    return Resampled(
        values=values,
        draws=np.concatenate(blocks),
        seeds=runs.integers(num_seeds, size=(times, num_seeds)),
        num_images=num_images,
    )


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """Images by who was right, and the exact two-sided `p` of `only_first` and `only_second`.

    `p` is the probability of a split at least this uneven, were both equally likely to be right
    alone (McNemar 1947, with the binomial in place of chi-squared).
    """

    both: int
    only_first: int
    only_second: int
    neither: int
    p: float


def mcnemar(first: Bools, second: Bools) -> McNemar:
    """Count images [N] by which of two runs was right about them."""
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    return McNemar(
        both=int((first & second).sum()),
        only_first=only_first,
        only_second=only_second,
        neither=int((~first & ~second).sum()),
        p=sign_test(only_first, only_second),
    )


def sum_counts(counts: Sequence[McNemar]) -> McNemar:
    """Add the counts of several seeds. Their p takes each seed's images for new ones: too small."""
    only_first = sum(count.only_first for count in counts)
    only_second = sum(count.only_second for count in counts)
    return McNemar(
        both=sum(count.both for count in counts),
        only_first=only_first,
        only_second=only_second,
        neither=sum(count.neither for count in counts),
        p=sign_test(only_first, only_second),
    )


def sign_test(first: int, second: int) -> float:
    """Give the exact two-sided p of `first` heads and `second` tails of a fair coin.

    No approximation at any count.
    """
    total, fewer = first + second, min(first, second)
    ways = term = 1  # of total choose 0
    for position in range(fewer):
        term = term * (total - position) // (position + 1)
        ways += term
    return min(1.0, 2 * ways / (1 << total))


def holm(values: Sequence[float]) -> list[float]:
    """Adjust p values for their number, in the given order (Holm 1979, step-down Bonferroni)."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted = [0.0] * len(values)
    largest = 0.0
    for rank, position in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[position]))
        adjusted[position] = largest
    return adjusted


@dataclass(frozen=True, kw_only=True)
class Needed:
    """What would show a difference in four of five repetitions: more images, or more seeds.

    None where more of it alone would not do.
    """

    images: int | None
    seeds: int | None


def needed(
    difference: float,
    *,
    image_variance: float,
    seed_variance: float,
    num_images: int,
    num_seeds: int,
) -> Needed:
    """Work out how many images, or seeds, would show `difference` were it the true one.

    The normal sample size for a 95 % interval and a power of 80 %, with the two variances falling
    in proportion to the images and the seeds.
    """
    normal = NormalDist()
    reach = normal.inv_cdf((1 + LEVEL) / 2) + normal.inv_cdf(POWER)
    allowed = (difference / reach) ** 2  # variance that would still show it
    images = _scaled(num_images, image_variance, allowed - seed_variance)
    seeds = _scaled(num_seeds, seed_variance, allowed - image_variance)
    return Needed(images=images, seeds=seeds if num_seeds > 1 else None)


def _scaled(count: int, variance: float, allowed: float) -> int | None:
    """Give the count that brings `variance` down to `allowed`; None where none does."""
    if allowed <= 0 or variance <= 0:
        return None
    return max(count + 1, math.ceil(count * variance / allowed))


def _measured(measures: Sequence[Sequence[Measure]], counts: Counts) -> Floats:
    """Give [B, A, S]."""
    return np.stack(
        [np.stack([measure(counts) for measure in arm], axis=1) for arm in measures], axis=1
    )
