"""What every problem offers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from hftune.core import LabelSpace, ProblemName
from hftune.recipe.schema import Component


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Scores float [B, K], and for each example the names that the model chooses.

    Scores are probabilities; with regression they are numbers [B, 1], and names their texts.
    """

    scores: Tensor
    names: tuple[tuple[str, ...], ...]


class Problem(Protocol):
    """How labels become targets and logits become answers.

    `best_metric` picks the best weights; `hub_tags` are tags of the model card; and
    `transformers_type` is `problem_type` in the published config.
    """

    name: ProblemName
    default_loss: Component
    default_metrics: tuple[str, ...]
    best_metric: str
    hub_tags: tuple[str, ...]
    transformers_type: str

    def encode(self, chosen: Sequence[Sequence[str]], labels: LabelSpace) -> Tensor:
        """Give the targets of examples from the names of their classes. Raises DataError."""

    def decode(self, logits: Tensor, labels: LabelSpace) -> Decoded:
        """Give the answers that `logits` [B, K] mean."""
