"""A run's answers -> its metric on any resample of the images, thousands of resamples at once."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from hftune.core import ProblemName
from hftune.metrics import as_scores
from hftune.metrics.bootstrap import Bools, Counts, Floats, Measure
from hftune.metrics.makers import make_metric
from hftune.metrics.ranked import AREAS, correlation, rank_measure, spearman

_THRESHOLD = 0.5
_TOP = 5


def make_measure(name: str, logits: Tensor, targets: Tensor, *, problem: ProblemName) -> Measure:
    """Give the metric `name` of `logits` [N, K] and `targets` as a function of how often.

    Agrees with torchmetrics on the resampled rows; metrics without a formula for counts here are
    computed by torchmetrics itself, one resample after the other.
    """
    scores = as_scores(logits, problem=problem)
    if name in _OF_HITS:
        return partial(_mean, _OF_HITS[name](scores, targets).numpy())
    if name in _OF_TABLES and problem != "regression":
        return _table_measure(_OF_TABLES[name], scores, targets, several=problem == "multi_label")
    if name in _OF_ERRORS:
        return partial(_OF_ERRORS[name], (scores - targets).numpy()[:, 0], targets.numpy()[:, 0])
    if name in AREAS:
        is_class = targets[:, None] == torch.arange(scores.shape[1])
        truth = targets > _THRESHOLD if problem == "multi_label" else is_class
        return rank_measure(name, scores.numpy(), truth.numpy())
    if name in _OF_PAIRS:
        return _OF_PAIRS[name](scores.numpy()[:, 0], targets.numpy()[:, 0])
    return partial(_one_by_one, name, problem, scores, targets)


def right_answers(logits: Tensor, targets: Tensor, *, problem: ProblemName) -> Bools:
    """Say of which images [N] a run was right: the likeliest class, or with several every label.

    Raises ValueError for regression, where no answer is right or wrong.
    """
    if problem == "regression":
        raise ValueError("numbers are not right or wrong")
    scores = as_scores(logits, problem=problem)
    hits = _hits if problem == "single_label" else _exact
    right: Bools = hits(scores, targets).numpy()
    return right


def _hits(scores: Tensor, targets: Tensor) -> Tensor:
    return scores.argmax(dim=1) == targets


def _top_hits(scores: Tensor, targets: Tensor) -> Tensor:
    top = scores.topk(min(_TOP, scores.shape[1]), dim=1).indices
    return (top == targets[:, None]).any(dim=1)


def _exact(scores: Tensor, targets: Tensor) -> Tensor:
    return ((scores > _THRESHOLD) == (targets > _THRESHOLD)).all(dim=1)


def _mean(values: Floats | Bools, counts: Counts) -> Floats:
    """Give the mean of values [N] in each resample [B]."""
    mean: Floats = counts @ values.astype(np.float64) / counts.sum(axis=1)
    return mean


def _table_measure(
    of: Callable[[Floats, Floats, Floats, bool], Floats],
    scores: Tensor,
    targets: Tensor,
    *,
    several: bool,
) -> Measure:
    """Give a metric of true positives, predicted and actual counts per class."""
    if not several:
        return _exclusive_measure(
            of, scores.argmax(dim=1).numpy(), targets.numpy(), scores.shape[1]
        )
    actual, chosen = targets.numpy() > _THRESHOLD, scores.numpy() > _THRESHOLD
    tables = [part.astype(np.float64) for part in (actual & chosen, chosen, actual)]

    def measure(counts: Counts) -> Floats:
        drawn = counts.astype(np.float64)
        right, said, there = (drawn @ part for part in tables)
        return of(right, said, there, several)

    return measure


def _exclusive_measure(
    of: Callable[[Floats, Floats, Floats, bool], Floats],
    chosen: Counts,
    actual: Counts,
    num_classes: int,
) -> Measure:
    """Give the same of one class per image [N], without a table of all images by classes."""
    hits = np.flatnonzero(chosen == actual)

    def measure(counts: Counts) -> Floats:
        right = _per_class(counts[:, hits], actual[hits], num_classes)
        said, there = (_per_class(counts, part, num_classes) for part in (chosen, actual))
        return of(right, said, there, False)

    return measure


def _per_class(counts: Counts, classes: Counts, num_classes: int) -> Floats:
    """Add up the counts [B, M] of what is of the same class [M] -> [B, K]."""
    places = classes + num_classes * np.arange(len(counts))[:, None]
    total = np.bincount(places.ravel(), weights=counts.ravel(), minlength=len(counts) * num_classes)
    return total.reshape(len(counts), num_classes).astype(np.float64)  # of no pairs: integers


def _balanced(true: Floats, chosen: Floats, actual: Floats, several: bool) -> Floats:  # noqa: ARG001  # one shape for all
    return _mean_over(_ratio(true, actual), actual > 0)


def _macro_recall(true: Floats, chosen: Floats, actual: Floats, several: bool) -> Floats:
    return _mean_over(_ratio(true, actual), _counted(chosen, actual, several))


def _macro_precision(true: Floats, chosen: Floats, actual: Floats, several: bool) -> Floats:
    return _mean_over(_ratio(true, chosen), _counted(chosen, actual, several))


def _macro_f1(true: Floats, chosen: Floats, actual: Floats, several: bool) -> Floats:
    return _mean_over(_ratio(2 * true, chosen + actual), _counted(chosen, actual, several))


def _micro_f1(true: Floats, chosen: Floats, actual: Floats, several: bool) -> Floats:  # noqa: ARG001  # one shape for all
    return _ratio(2 * true.sum(axis=1), (chosen + actual).sum(axis=1))


def _counted(chosen: Floats, actual: Floats, several: bool) -> Bools:
    """Say which classes [B, K] enter a macro mean, as torchmetrics has it.

    All labels do; of exclusive classes those that were drawn or predicted.
    """
    return np.full(actual.shape, True) if several else (chosen + actual) > 0


def _mean_over(values: Floats, counted: Bools) -> Floats:
    """Give the mean over the counted classes [B, K] -> [B]."""
    mean: Floats = np.where(counted, values, 0).sum(axis=1) / counted.sum(axis=1)
    return mean


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Divide; nothing of nothing is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _mae(errors: Floats, truth: Floats, counts: Counts) -> Floats:  # noqa: ARG001  # one shape
    return _mean(np.abs(errors), counts)


def _rmse(errors: Floats, truth: Floats, counts: Counts) -> Floats:  # noqa: ARG001  # one shape
    return np.sqrt(_mean(errors**2, counts))


def _r2(errors: Floats, truth: Floats, counts: Counts) -> Floats:
    """Give the share of the targets' variance that is explained; NaN where they are all equal."""
    centred = truth.astype(np.float64) - truth.mean(dtype=np.float64)
    variance = _mean(centred**2, counts) - _mean(centred, counts) ** 2
    is_spread = np.array([np.ptp(truth[drawn > 0]) > 0 for drawn in counts])
    left: Floats = np.divide(
        _mean(errors**2, counts), variance, out=np.full(len(counts), np.nan), where=is_spread
    )
    return 1 - left


def _pearson(said: Floats, truth: Floats) -> Measure:
    """Give the correlation of two lists of numbers [N]; NaN where one is all the same number."""

    def measure(counts: Counts) -> Floats:
        return correlation(_centred(said, counts), _centred(truth, counts), counts)

    return measure


def _centred(numbers: Floats, counts: Counts) -> Floats:
    """Give the numbers less their mean in each resample [B, N], exactly 0 where all are equal."""
    is_spread = np.array([np.ptp(numbers[drawn > 0]) > 0 for drawn in counts])
    centred: Floats = (numbers - _mean(numbers, counts)[:, None]) * is_spread[:, None]
    return centred


def _one_by_one(
    name: str, problem: ProblemName, scores: Tensor, targets: Tensor, counts: Counts
) -> Floats:
    """Compute a metric by torchmetrics on the rows of each resample."""
    rows = torch.arange(len(scores))
    values = []
    for drawn in torch.from_numpy(counts):
        chosen = rows.repeat_interleave(drawn)
        metric = make_metric(name, problem, scores.shape[1])
        metric.update(scores[chosen], targets[chosen])
        values.append(float(metric.compute()))
    return np.array(values)


_OF_HITS = {"accuracy": _hits, "top5_accuracy": _top_hits, "exact_match": _exact}
_OF_TABLES = {
    "balanced_accuracy": _balanced,
    "macro_f1": _macro_f1,
    "micro_f1": _micro_f1,
    "macro_precision": _macro_precision,
    "macro_recall": _macro_recall,
}
_OF_ERRORS = {"mae": _mae, "rmse": _rmse, "r2": _r2}
_OF_PAIRS = {"pearson": _pearson, "spearman": spearman}
