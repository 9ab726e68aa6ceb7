"""Metrics by name, computed exactly over a whole split through torchmetrics.

A metric is a `torchmetrics.Metric` class, made for K classes: `update(scores, targets)`, then
`compute()`, which gives NaN where the data leave it undefined. Scores are probabilities
float64 [N, K]; targets are int64 [N], or int64 [N, K] zeros and ones with several labels. With
regression K is 1, and both are numbers float64 [N, 1]. To add one, give `METRICS` a line with the
problems that it is for, and `MAKERS` in `makers.py` one with the class and its options.
"""

import difflib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from hftune.core import LabelSpace, ProblemName
from hftune.errors import ComponentError, PlanError
from hftune.quick_import import quick_import

logger = logging.getLogger(__name__)

LOSS = "loss"

# A label counts as given from this score on, where an image may have several.
THRESHOLD = 0.5

_SINGLE: tuple[ProblemName, ...] = ("single_label",)
_MULTI: tuple[ProblemName, ...] = ("multi_label",)
_NUMBER: tuple[ProblemName, ...] = ("regression",)
_CLASSES = (*_SINGLE, *_MULTI)

# What each metric is for. The class behind a name stands in `makers`, with the same keys.
METRICS: Mapping[str, tuple[ProblemName, ...]] = {
    "accuracy": _SINGLE,
    "top5_accuracy": _SINGLE,
    "balanced_accuracy": _SINGLE,
    "exact_match": _MULTI,
    "macro_f1": _CLASSES,
    "micro_f1": _MULTI,
    "macro_precision": _CLASSES,
    "macro_recall": _CLASSES,
    "auroc": _CLASSES,
    "average_precision": _SINGLE,
    "mean_average_precision": _MULTI,
    "mae": _NUMBER,
    "rmse": _NUMBER,
    "r2": _NUMBER,
    "pearson": _NUMBER,
    "spearman": _NUMBER,
}

# Those that are the better the lower they are.
_LOWER = frozenset({"mae", "rmse"})

# Metrics that say something only from this number of classes on, where it is above one.
MIN_CLASSES: Mapping[str, int] = {"top5_accuracy": 6}

# Why a metric may be undefined.
_UNDEFINED: Mapping[ProblemName, str] = {
    "single_label": "the targets hold one class only",
    "multi_label": "the targets hold one class only",
    "regression": "the targets or the outputs are all the same number",
}


@dataclass(frozen=True, kw_only=True)
class MetricValues:
    """Metrics over one split, all finite; what the data leave undefined is absent.

    `per_class` maps a class name to precision, recall, f1 (absent without examples), count and
    what `OneVersusRest` metrics give. `confusion` [K][K] counts by (true, predicted) class; empty
    with several labels. With regression both are empty.
    """

    values: dict[str, float]
    per_class: dict[str, dict[str, float]]
    confusion: tuple[tuple[int, ...], ...] = ()


def metrics_for(problem: ProblemName, *, num_classes: int) -> tuple[str, ...]:
    """Give the names of the metrics that fit."""
    return tuple(
        name
        for name, problems in METRICS.items()
        if problem in problems and num_classes >= MIN_CLASSES.get(name, 1)
    )


def check_metrics(names: Sequence[str], labels: LabelSpace, *, problem: ProblemName) -> None:
    """Raise ComponentError, with those that fit, for the first name that is none of them."""
    fitting = metrics_for(problem, num_classes=labels.size)
    for name in names:
        if name not in fitting:
            noun = "number" if labels.numeric else f"class{'es' * (labels.size != 1)}"
            raise _unfit(name, fitting, problem=f"'{problem}' with {labels.size} {noun}")


def higher_is_better(name: str) -> bool:
    """Say in which direction a metric, or the loss, improves. Raises ComponentError."""
    if name == LOSS:
        return False
    if name not in METRICS:
        raise _unfit(name, (*METRICS, LOSS), problem="any problem")
    return name not in _LOWER


def is_better(value: float, than: float, *, metric: str) -> bool:
    """Say whether one value of a metric, or of the loss, is better than another, not equal."""
    return value > than if higher_is_better(metric) else value < than


def is_share(name: str) -> bool:
    """Say whether a metric is a share of 0 to 1, which may be read as a percentage."""
    return name in METRICS and "regression" not in METRICS[name]


def compute_metrics(
    names: Sequence[str],
    logits: Tensor,
    targets: Tensor,
    labels: LabelSpace,
    *,
    problem: ProblemName,
) -> MetricValues:
    """Compute metrics over a whole split, on the device of its arguments.

    `logits` [N, K], N > 0; `targets` int64 [N], or [N, K] zeros and ones with several labels, or
    numbers [N, 1].
    Raises ComponentError for a metric that does not fit, PlanError for outputs that are not finite.
    """
    with quick_import():  # torchmetrics takes seconds, and no step needs it
        from hftune.metrics.classes import OneVersusRest, confusion, per_class
        from hftune.metrics.makers import make_metric

    check_metrics(names, labels, problem=problem)
    _check_finite(logits)
    scores = as_scores(logits, problem=problem)
    targets = targets.double() if problem == "regression" else targets.long()
    rows = {} if problem == "regression" else per_class(scores, targets, labels, problem=problem)
    values: dict[str, float] = {}
    for name in names:
        metric = make_metric(name, problem, labels.size)
        metric.update(scores, targets)
        value = float(metric.compute())
        if math.isfinite(value):
            values[name] = value
        else:
            _warn_once(f"{name} is left out: {_UNDEFINED[problem]}")
        if isinstance(metric, OneVersusRest):
            _add_per_class(rows, name, metric.per_class.tolist())
    return MetricValues(
        values=values,
        per_class=rows,
        confusion=confusion(scores, targets) if problem == "single_label" else (),
    )


def as_scores(logits: Tensor, *, problem: ProblemName) -> Tensor:
    """Give probabilities float64 [N, K]; in fp32 confident ones would round to ties.

    With regression a score is the number itself.
    """
    scores = logits.double()
    if problem == "regression":
        return scores
    return scores.softmax(dim=1) if problem == "single_label" else scores.sigmoid()


def _check_finite(logits: Tensor) -> None:
    bad = int((~logits.isfinite()).any(dim=1).sum())
    if bad:
        raise PlanError(
            "the model's outputs are not finite numbers: training has diverged",
            found=f"{bad} of {len(logits)} examples",
            remedy="lower optim.lr, set optim.clip_norm, or train with train.precision: fp32",
        )


def _add_per_class(rows: dict[str, dict[str, float]], name: str, values: Sequence[float]) -> None:
    """Add a metric to the rows of the classes that have it. Side effect: changes `rows`."""
    for (label, row), value in zip(rows.items(), values, strict=True):
        if math.isfinite(value):
            row[name] = value
        else:
            _warn_once(f"{name} leaves out '{label}': no examples, or no counterexamples")


def _unfit(name: str, fitting: Sequence[str], *, problem: str) -> ComponentError:
    close = difflib.get_close_matches(name, fitting, n=1)
    return ComponentError(
        f"there is no metric '{name}' for {problem}",
        found=repr(name),
        allowed=", ".join(fitting),
        where="eval.metrics and eval.best",
        remedy=f"did you mean '{close[0]}'?" if close else None,
    )


@cache
def _warn_once(message: str) -> None:
    """Log a fact that every evaluation of a run would repeat."""
    logger.warning("%s", message)
