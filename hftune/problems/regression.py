"""One number per example, in its own unit."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hftune.core import LabelSpace, ProblemName
from hftune.errors import DataError
from hftune.problems.contract import Decoded
from hftune.recipe.schema import Component


class Regression:
    """The model's only output is the number itself; its text stands for the class's name."""

    name: ProblemName = "regression"
    default_loss = Component(name="mse")
    default_metrics: tuple[str, ...] = ("mae", "rmse", "r2", "pearson", "spearman")
    best_metric = "mae"
    hub_tags: tuple[str, ...] = ("image-classification", "image-regression")
    transformers_type = "regression"

    def encode(self, chosen: Sequence[Sequence[str]], labels: LabelSpace) -> Tensor:
        """Give numbers float32 [B, 1]. Raises DataError unless each example has one number."""
        numbers = [[_number(text) for text in texts] for texts in chosen]
        wrong = [row for row in numbers if len(row) != labels.size]
        if wrong:
            raise DataError(
                f"{len(wrong)} of {len(chosen)} examples have not exactly one number",
                found=f"{len(wrong[0])} numbers",
                allowed=f"one number per example: {labels.names[0]}",
            )
        return torch.tensor(numbers, dtype=torch.float32).reshape(len(numbers), labels.size)

    def decode(self, logits: Tensor, labels: LabelSpace) -> Decoded:
        """Give the numbers as they are, `logits` [B, 1], and as short texts."""
        numbers = logits.float().reshape(len(logits), labels.size)
        texts = tuple((f"{number:.6g}",) for (number,) in numbers.tolist())  # host-device sync
        return Decoded(scores=numbers, names=texts)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError("this is no number", found=repr(text)) from None
