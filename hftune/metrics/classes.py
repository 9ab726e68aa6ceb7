"""Metrics of classes that torchmetrics does not have in this form, and tables of each class."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import (
    multiclass_confusion_matrix,
    multiclass_stat_scores,
    multilabel_stat_scores,
)

from hftune.core import LabelSpace, ProblemName


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


def per_class(
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


def confusion(scores: Tensor, targets: Tensor) -> tuple[tuple[int, ...], ...]:
    """Count scores [N, K] against class positions [N] by (true, predicted) class, [K][K]."""
    matrix = multiclass_confusion_matrix(scores, targets, num_classes=scores.shape[1])
    return tuple(tuple(int(count) for count in row) for row in matrix.tolist())
