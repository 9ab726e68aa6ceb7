"""Exactly one class per example."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hftune.core import LabelSpace, ProblemName
from hftune.errors import DataError
from hftune.problems.contract import Decoded
from hftune.problems.names import positions
from hftune.recipe.schema import Component


class SingleLabel:
    """Softmax over the classes; the most probable one is chosen."""

    name: ProblemName = "single_label"
    default_loss = Component(name="cross_entropy")
    default_metrics: tuple[str, ...] = ("accuracy", "balanced_accuracy", "macro_f1", "auroc")
    best_metric = "accuracy"
    hub_tags: tuple[str, ...] = ("image-classification",)
    transformers_type = "single_label_classification"

    def encode(self, chosen: Sequence[Sequence[str]], labels: LabelSpace) -> Tensor:
        """Give class positions int64 [B]. Raises DataError unless each example has one class."""
        several = [names for names in chosen if len(names) != 1]
        if several:
            raise DataError(
                f"{len(several)} of {len(chosen)} examples have not exactly one class",
                found=f"{len(several[0])} classes: {', '.join(several[0]) or 'none'}",
                allowed="one class per example",
                remedy="for any number of classes per example set problem: multi_label",
            )
        return torch.tensor(
            [position for names in chosen for position in positions(names, labels)],
            dtype=torch.int64,
        )

    def decode(self, logits: Tensor, labels: LabelSpace) -> Decoded:
        """Give the softmax of `logits` [B, K] and the first of the most probable names."""
        probabilities = logits.float().softmax(dim=1)
        best = probabilities.argmax(dim=1).tolist()  # host-device sync
        return Decoded(scores=probabilities, names=tuple((labels.names[k],) for k in best))
