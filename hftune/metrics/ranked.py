"""Metrics that sort by score, on any resample of the images: areas and rank correlation."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from hftune.metrics.bootstrap import Bools, Counts, Floats, Measure


@dataclass(frozen=True, kw_only=True)
class _Passed:
    """What falling scores pass: a column for each group of equal scores that has positives.

    `here` and `level` are the positives and negatives of a group, `above` the negatives of higher
    scores, all [B, G]; `negatives` are those of the whole resample [B].
    """

    here: Floats
    level: Floats
    above: Floats
    negatives: Floats


class _Ranking:
    """One class against the rest by falling score. `truth` holds examples and counterexamples."""

    def __init__(self, scores: Floats, truth: Bools) -> None:
        self.order = np.argsort(-scores, kind="stable")
        is_new = np.flatnonzero(np.diff(scores[self.order])) + 1
        first, last = np.append(0, is_new), np.append(is_new, len(scores))
        places = np.flatnonzero(truth[self.order])
        self.positives = self.order[places]
        group = np.searchsorted(is_new, places, side="right")
        kept, self.starts = np.unique(group, return_index=True)
        self.first, self.last = first[kept], last[kept]

    def passed(self, counts: Counts) -> _Passed:
        """Count what each resample [B, N] drew."""
        every = np.zeros((len(counts), counts.shape[1] + 1), dtype=np.int64)
        np.cumsum(counts[:, self.order], axis=1, out=every[:, 1:])
        here = np.add.reduceat(counts[:, self.positives], self.starts, axis=1)
        positives_above = np.cumsum(here, axis=1) - here
        before = every[:, self.first]
        return _Passed(
            here=here.astype(np.float64),
            level=(every[:, self.last] - before - here).astype(np.float64),
            above=(before - positives_above).astype(np.float64),
            negatives=(every[:, -1] - here.sum(axis=1)).astype(np.float64),
        )


def rank_measure(name: str, scores: Floats, truth: Bools) -> Measure:
    """Give a metric of each class's ranking against the rest, as the mean over classes.

    `scores` and `truth` are [N, K]. A class takes part in the resamples that drew examples and
    counterexamples of it.
    """
    mixed = np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))
    rankings = [_Ranking(scores[:, position], truth[:, position]) for position in mixed]
    return partial(_mean_of_classes, AREAS[name], rankings)


def _mean_of_classes(
    of: Callable[[_Passed], Floats], rankings: list[_Ranking], counts: Counts
) -> Floats:
    total, classes = np.zeros(len(counts)), np.zeros(len(counts))
    for ranking in rankings:
        passed = ranking.passed(counts)
        is_defined = (passed.here.sum(axis=1) > 0) & (passed.negatives > 0)
        total += np.where(is_defined, of(passed), 0)
        classes += is_defined
    mean: Floats = np.divide(total, classes, out=np.full(len(counts), np.nan), where=classes > 0)
    return mean


def _auroc(passed: _Passed) -> Floats:
    """Give the chance that a positive outranks a negative, equal scores counting one half."""
    below = passed.negatives[:, None] - passed.above - passed.level / 2
    pairs = passed.here.sum(axis=1) * passed.negatives
    return _ratio((passed.here * below).sum(axis=1), pairs)


def _average_precision(passed: _Passed) -> Floats:
    """Give the mean precision where positives are met, group by group of equal scores."""
    found = np.cumsum(passed.here, axis=1)
    precision = _ratio(found, found + passed.above + passed.level)
    return _ratio((passed.here * precision).sum(axis=1), passed.here.sum(axis=1))


def spearman(said: Floats, truth: Floats) -> Measure:
    """Give the correlation of two lists of ranks [N], equal numbers sharing their mean rank."""
    groups = [np.unique(numbers, return_inverse=True)[1] for numbers in (said, truth)]

    def measure(counts: Counts) -> Floats:
        ranks = [_centred_ranks(group, counts) for group in groups]
        return correlation(ranks[0], ranks[1], counts)

    return measure


def _centred_ranks(group: Counts, counts: Counts) -> Floats:
    """Give each image's rank [B, N] in the resample, less the mean rank."""
    size = int(group.max()) + 1
    places = group + size * np.arange(len(counts))[:, None]
    drawn = np.bincount(places.ravel(), weights=counts.ravel(), minlength=len(counts) * size)
    drawn = drawn.reshape(len(counts), size)
    rank = np.cumsum(drawn, axis=1) - drawn / 2  # that of the group's middle, less one half
    middle = counts.sum(axis=1, keepdims=True) / 2
    centred: Floats = (rank - middle)[:, group]
    return centred


def correlation(one: Floats, other: Floats, counts: Counts) -> Floats:
    """Give Pearson's, of numbers [B, N] about their means; NaN where one of them is all zero."""
    together = (counts * one * other).sum(axis=1)
    alone = (counts * one**2).sum(axis=1) * (counts * other**2).sum(axis=1)
    found: Floats = np.divide(
        together, np.sqrt(alone), out=np.full(len(counts), np.nan), where=alone > 0
    )
    return found


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Divide; nothing of nothing is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


AREAS: dict[str, Callable[[_Passed], Floats]] = {
    "auroc": _auroc,
    "average_precision": _average_precision,
    "mean_average_precision": _average_precision,
}
