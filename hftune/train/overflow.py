"""fp16's ordinary overflow told apart from a gradient that is really not finite."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from hftune.train.session import Session

# The scaler halves its scale at each overflow; what overflows unscaled is no matter of scale.
_LEAST_SCALE = 1.0


def poisoned(loss: Tensor, factor: float) -> Tensor:
    """Give `loss` times `factor`; times NaN where it is not finite, so that its gradient is NaN.

    An infinite loss may have a finite gradient. With this one the sum of all ranks' gradients says
    on every rank that a loss was not finite on any of them. No host-device sync.
    """
    return loss * torch.where(loss.detach().isfinite(), factor, torch.nan)


def is_ordinary_overflow(session: "Session", loss: Tensor, gradients: Sequence[Tensor]) -> bool:
    """Say whether gradients are not finite only because the loss was scaled too much for fp16.

    The scaler then skips the step and halves its scale. Not so where the loss itself is not finite
    on some rank, where the scale cannot be the reason any more, and where every gradient is finite
    and only their norm is not, which the scaler does not see. Called by every rank, with the
    unscaled gradients, which are the same on each (collective where the scaler is in use).
    """
    scaler = session.accelerator.scaler
    if scaler is None or scaler.get_scale() <= _LEAST_SCALE:
        return False
    if bool(nn.utils.get_total_norm(gradients, norm_type=torch.inf).isfinite()):
        return False
    bad = (~loss.detach().isfinite()).float()
    return float(session.accelerator.reduce(bad, reduction="sum")) == 0  # collective and sync


def skips_text(count: int) -> str:
    """Say what `count` skipped steps are."""
    steps = "step" if count == 1 else "steps"
    return f"{count} {steps} skipped by the loss scaler so far; normal while it finds its scale"
