"""The classes behind the names of metrics; torchmetrics comes in with them."""

from collections.abc import Mapping
from functools import partial

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
from torchmetrics.functional.classification import binary_auroc, binary_average_precision
from torchmetrics.functional.regression import (
    mean_absolute_error,
    pearson_corrcoef,
    r2_score,
    spearman_corrcoef,
)

from hftune.core import ProblemName
from hftune.metrics.classes import BalancedAccuracy, OneVersusRest
from hftune.metrics.numbers import (
    Correlation,
    NumberAgreement,
    NumberError,
    root_mean_squared_error,
)

MAKERS: Mapping[str, Mapping[ProblemName, partial[Metric]]] = {
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
    "mae": {"regression": partial(NumberError, of=mean_absolute_error)},
    "rmse": {"regression": partial(NumberError, of=root_mean_squared_error)},
    "r2": {"regression": partial(NumberAgreement, of=r2_score)},
    "pearson": {"regression": partial(Correlation, of=pearson_corrcoef)},
    "spearman": {"regression": partial(Correlation, of=spearman_corrcoef)},
}


def make_metric(name: str, problem: ProblemName, num_classes: int) -> Metric:
    """Give a metric that has seen nothing yet."""
    # Every rank has all examples already: adding the ranks up would count each twice.
    return MAKERS[name][problem](num_classes, sync_on_compute=False)
