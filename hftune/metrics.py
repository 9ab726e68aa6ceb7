"""Metrics by name, computed exactly over a whole split through torchmetrics.

A metric is a `torchmetrics.Metric` class, made for K classes: `update(scores, targets)`, then
`compute()`, which gives NaN where the targets leave it undefined. Scores are probabilities
float64 [N, K]; targets are int64 [N], or int64 [N, K] zeros and ones with several labels. To add
one, give `METRICS` a line with the class and the options that each problem needs.
"""

import difflib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
    MultilabelExactMatch,
    MultilabelF1Score,
    MultilabelPrecision,
    MultilabelRecall,
)
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    multiclass_confusion_matrix,
    multiclass_stat_scores,
    multilabel_stat_scores,
)

from hftune.core import LabelSpace, ProblemName
from hftune.errors import ComponentError, PlanError

logger = logging.getLogger(__name__)

LOSS = "loss"


class BalancedAccuracy(Metric):  # type: ignore[misc]  # torchmetrics is untyped here
    """The mean of the recalls of the classes that have examples."""

    higher_is_better = True
    full_state_update = False

    def __init__(self, num_classes: int, *, sync_on_compute: bool = True) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        for state in ("hits", "examples"):
            self.add_state(state, torch.zeros(num_classes, dtype=torch.int64), "sum")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Count scores [N, K] against class positions [N]."""
        num_classes = len(self.examples)
        right = targets[scores.argmax(dim=1) == targets]
        self.hits += torch.bincount(right, minlength=num_classes)
        self.examples += torch.bincount(targets, minlength=num_classes)

    def compute(self) -> Tensor:
        """Give the mean, a scalar."""
        recalls: Tensor = self.hits / self.examples
        return recalls[self.examples > 0].mean()


class OneVersusRest(Metric):  # type: ignore[misc]  # torchmetrics is untyped here
    """The mean over classes of a score of one class's ranking against the rest.

    A class needs examples and counterexamples to take part. `per_class` [K] is there after
    `compute`, NaN for the others.
    """

    higher_is_better = True
    full_state_update = False

    def __init__(
        self, num_classes: int, *, of: Callable[..., Tensor], sync_on_compute: bool = True
    ) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        self.num_classes = num_classes
        self.of = of
        self.per_class = torch.full((num_classes,), math.nan, dtype=torch.float64)
        for state in ("scores", "targets"):
            self.add_state(state, [], "cat")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Keep scores [N, K] and targets [N] or [N, K]."""
        self.scores.append(scores)
        self.targets.append(targets)

    def compute(self) -> Tensor:
        """Give the mean, a scalar; NaN where no class takes part."""
        scores, targets = torch.cat(self.scores), torch.cat(self.targets)
        for position in range(self.num_classes):
            truth = targets == position if targets.ndim == 1 else targets[:, position] == 1
            if bool(truth.any()) and not bool(truth.all()):
                self.per_class[position] = self.of(
                    scores[:, position], truth.long(), validate_args=False
                )
        return self.per_class.nanmean()


METRICS: dict[str, dict[ProblemName, partial[Metric]]] = {
    "accuracy": {"single_label": partial(MulticlassAccuracy, average="micro")},
    "top5_accuracy": {"single_label": partial(MulticlassAccuracy, average="micro", top_k=5)},
    "balanced_accuracy": {"single_label": partial(BalancedAccuracy)},
    "exact_match": {"multi_label": partial(MultilabelExactMatch)},
    "macro_f1": {
        "single_label": partial(MulticlassF1Score, average="macro"),
        "multi_label": partial(MultilabelF1Score, average="macro"),
    },
    "micro_f1": {"multi_label": partial(MultilabelF1Score, average="micro")},
    "macro_precision": {
        "single_label": partial(MulticlassPrecision, average="macro"),
        "multi_label": partial(MultilabelPrecision, average="macro"),
    },
    "macro_recall": {
        "single_label": partial(MulticlassRecall, average="macro"),
        "multi_label": partial(MultilabelRecall, average="macro"),
    },
    "auroc": {
        "single_label": partial(OneVersusRest, of=binary_auroc),
        "multi_label": partial(OneVersusRest, of=binary_auroc),
    },
    "average_precision": {"single_label": partial(OneVersusRest, of=binary_average_precision)},
    "mean_average_precision": {"multi_label": partial(OneVersusRest, of=binary_average_precision)},
}

# Metrics that say something only from this number of classes on, where it is above two.
MIN_CLASSES: Mapping[str, int] = {"top5_accuracy": 6}


@dataclass(frozen=True, kw_only=True)
class MetricValues:
    """Metrics over one split, all finite; what the targets leave undefined is absent.

    `per_class` maps a class name to precision, recall, f1 (absent without examples), count and
    what `OneVersusRest` metrics give. `confusion` [K][K] counts by (true, predicted) class; empty
    with several labels.
    """

    values: dict[str, float]
    per_class: dict[str, dict[str, float]]
    confusion: list[list[int]] = field(default_factory=list)


def metrics_for(problem: ProblemName, *, num_classes: int) -> tuple[str, ...]:
    """Give the names of the metrics that fit."""
    return tuple(
        name
        for name, makers in METRICS.items()
        if problem in makers and num_classes >= MIN_CLASSES.get(name, 2)
    )


def check_metrics(names: Sequence[str], labels: LabelSpace, *, problem: ProblemName) -> None:
    """Raise ComponentError, with those that fit, for the first name that is none of them."""
    fitting = metrics_for(problem, num_classes=labels.size)
    for name in names:
        if name not in fitting:
            raise _unfit(name, fitting, problem=f"'{problem}' with {labels.size} classes")


def higher_is_better(name: str) -> bool:
    """Say in which direction a metric, or the loss, improves. Raises ComponentError."""
    if name == LOSS:
        return False
    if name not in METRICS:
        raise _unfit(name, (*METRICS, LOSS), problem="any problem")
    make = next(iter(METRICS[name].values()))
    return bool(make(MIN_CLASSES.get(name, 2)).higher_is_better)


def is_better(value: float, than: float, *, metric: str) -> bool:
    """Say whether one value of a metric, or of the loss, is better than another, not equal."""
    return value > than if higher_is_better(metric) else value < than


def compute_metrics(
    names: Sequence[str],
    logits: Tensor,
    targets: Tensor,
    labels: LabelSpace,
    *,
    problem: ProblemName,
) -> MetricValues:
    """Compute metrics over a whole split, on the device of its arguments.

    `logits` [N, K], N > 0; `targets` int64 [N], or [N, K] zeros and ones with several labels.
    Raises ComponentError for a metric that does not fit, PlanError for outputs that are not finite.
    """
    check_metrics(names, labels, problem=problem)
    _check_finite(logits)
    scores = as_scores(logits, problem=problem)
    targets = targets.long()
    per_class = _per_class(scores, targets, labels, problem=problem)
    values: dict[str, float] = {}
    for name in names:
        # Every rank has all examples already: adding the ranks up would count each twice.
        metric = METRICS[name][problem](labels.size, sync_on_compute=False)
        metric.update(scores, targets)
        value = float(metric.compute())
        if math.isfinite(value):
            values[name] = value
        else:
            _warn_once(f"{name} is left out: the targets hold one class only")
        if isinstance(metric, OneVersusRest):
            _add_per_class(per_class, name, metric.per_class.tolist())
    return MetricValues(
        values=values,
        per_class=per_class,
        confusion=_confusion(scores, targets) if problem == "single_label" else [],
    )


def as_scores(logits: Tensor, *, problem: ProblemName) -> Tensor:
    """Give probabilities float64 [N, K]; in fp32 confident ones would round to ties."""
    scores = logits.double()
    return scores.softmax(dim=1) if problem == "single_label" else scores.sigmoid()


def _check_finite(logits: Tensor) -> None:
    bad = int((~logits.isfinite()).any(dim=1).sum())
    if bad:
        raise PlanError(
            "the model's outputs are not finite numbers: training has diverged",
            found=f"{bad} of {len(logits)} examples",
            remedy="lower optim.lr, set optim.clip_norm, or train with train.precision: fp32",
        )


def _per_class(
    scores: Tensor, targets: Tensor, labels: LabelSpace, *, problem: ProblemName
) -> dict[str, dict[str, float]]:
    """Give precision (0 where never predicted), recall, f1 and count by class name."""
    if problem == "single_label":
        counts = multiclass_stat_scores(scores, targets, num_classes=labels.size, average=None)
    else:
        counts = multilabel_stat_scores(scores, targets, num_labels=labels.size, average=None)
    result: dict[str, dict[str, float]] = {}
    for name, (tp, fp, _, fn, count) in zip(labels.names, counts.tolist(), strict=True):
        row = {"count": float(count)}
        if count:
            row["precision"] = tp / (tp + fp) if tp else 0.0
            row["recall"] = tp / count
            row["f1"] = 2 * tp / (2 * tp + fp + fn)
        result[name] = row
    return result


def _add_per_class(
    per_class: dict[str, dict[str, float]], name: str, values: Sequence[float]
) -> None:
    """Add a metric to the rows of the classes that have it. Side effect: changes `per_class`."""
    for (label, row), value in zip(per_class.items(), values, strict=True):
        if math.isfinite(value):
            row[name] = value
        else:
            _warn_once(f"{name} leaves out '{label}': no examples, or no counterexamples")


def _confusion(scores: Tensor, targets: Tensor) -> list[list[int]]:
    matrix = multiclass_confusion_matrix(scores, targets, num_classes=scores.shape[1])
    return [[int(count) for count in row] for row in matrix.tolist()]


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
