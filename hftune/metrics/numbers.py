"""Metrics of numbers against their targets, by torchmetrics' functions over a whole split."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.regression import mean_squared_error

OfNumbers = Callable[[Tensor, Tensor], Tensor]


class NumberError(Metric):  # type: ignore[misc]  # torchmetrics is untyped here
    """How far off the numbers are, in the target's own unit: `of` (predictions, targets) [N]."""

    higher_is_better = False
    full_state_update = False

    def __init__(self, num_targets: int, *, of: OfNumbers, sync_on_compute: bool = True) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        if num_targets != 1:
            raise ValueError(f"{num_targets} targets; these metrics are of one number per example")
        self.of = of
        for state in ("scores", "targets"):
            self.add_state(state, [], "cat")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Keep predicted numbers [N, 1] and true ones [N, 1]."""
        self.scores.append(scores.double().squeeze(1))
        self.targets.append(targets.double().squeeze(1))

    def compute(self) -> Tensor:
        """Give the value, a scalar."""
        return self.of(torch.cat(self.scores), torch.cat(self.targets))


class NumberAgreement(NumberError):
    """How well the numbers follow the targets, whatever the unit; NaN where targets are all equal.

    `of` must not change when both are shifted and stretched alike: it sees them in units of the
    targets' deviation, since torchmetrics takes squares below 1e-4 for nothing.
    """

    higher_is_better = True

    def compute(self) -> Tensor:
        """Give the value, a scalar."""
        scores, targets = torch.cat(self.scores), torch.cat(self.targets)
        centre, scale = targets.mean(), targets.std(correction=0)
        if not is_spread(targets):
            return torch.full_like(centre, math.nan)
        return self.of((scores - centre) / scale, (targets - centre) / scale)


class Correlation(NumberError):
    """A correlation; NaN where targets or predictions are all equal.

    `of` must not change when either is shifted and stretched: it sees each in units of its own
    deviation, since torchmetrics takes small variances for nothing.
    """

    higher_is_better = True

    def compute(self) -> Tensor:
        """Give the value, a scalar."""
        scores, targets = torch.cat(self.scores), torch.cat(self.targets)
        if not (is_spread(scores) and is_spread(targets)):
            return torch.full_like(scores[0], math.nan)
        return self.of(_standardised(scores), _standardised(targets))


def root_mean_squared_error(scores: Tensor, targets: Tensor) -> Tensor:
    """Give the root of the mean squared error of [N] against [N], a scalar."""
    value: Tensor = mean_squared_error(scores, targets, squared=False)
    return value


def _standardised(values: Tensor) -> Tensor:
    return (values - values.mean()) / values.std(correction=0)


def is_spread(values: Tensor) -> bool:
    """Say whether numbers [N] differ by more than the rounding of fp32, in which models answer."""
    reach = values.max() - values.min()
    return bool(reach > torch.finfo(torch.float32).eps * values.abs().max())
