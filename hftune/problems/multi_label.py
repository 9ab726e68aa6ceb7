"""Any number of classes per example, also none."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hftune.core import LabelSpace, ProblemName
from hftune.problems.contract import Decoded
from hftune.problems.names import positions
from hftune.recipe.schema import Component

# A class is chosen when it is more probable than not.
THRESHOLD = 0.5


class MultiLabel:
    """A sigmoid per class; every class above one half is chosen."""

    name: ProblemName = "multi_label"
    default_loss = Component(name="binary")
    default_metrics: tuple[str, ...] = ("mean_average_precision", "macro_f1", "micro_f1", "auroc")
    best_metric = "mean_average_precision"
    hub_tags: tuple[str, ...] = ("image-classification", "multi-label-classification")
    transformers_type = "multi_label_classification"

    def encode(self, chosen: Sequence[Sequence[str]], labels: LabelSpace) -> Tensor:
        """Give zeros and ones float32 [B, K]. Raises DataError for a name that is no class."""
        targets = torch.zeros(len(chosen), labels.size)
        for row, names in enumerate(chosen):
            targets[row, positions(names, labels)] = 1
        return targets

    def decode(self, logits: Tensor, labels: LabelSpace) -> Decoded:
        """Give the sigmoid of `logits` [B, K] and the names above one half, in class order."""
        probabilities = logits.float().sigmoid()
        chosen = (probabilities > THRESHOLD).tolist()  # host-device sync
        return Decoded(
            scores=probabilities,
            names=tuple(
                tuple(name for name, is_chosen in zip(labels.names, row, strict=True) if is_chosen)
                for row in chosen
            ),
        )
