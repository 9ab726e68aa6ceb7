"""An optimizer's step that is queued before the host knows whether its gradient is finite.

A GPU skips it by itself where it is not, as it does for torch's loss scaler. While the host waits
for the norm, the step is still to be computed, so that the GPU has work until the next forward.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

# Their fused kernels change nothing where `found_inf` is 1; a subclass may not look at it.
_SKIPPING = (Adam, AdamW, SGD)


def can_skip(optimizer: Optimizer) -> bool:
    """Say whether the device itself can skip a step of `optimizer`."""
    return type(optimizer) in _SKIPPING and all(group["fused"] for group in optimizer.param_groups)


def step_early(optimizer: Optimizer, norm: Tensor) -> float:
    """Queue a step that is taken only if `norm` is finite; give `norm`, a scalar on the device.

    `can_skip` holds. Where `norm` is not finite, weights, moments and step counters stay as they
    are. Host-device sync, after the step is queued.
    """
    arrived = _begin_to_read(norm)
    fresh = [
        parameter
        for group in optimizer.param_groups
        for parameter in group["params"]
        if not optimizer.state.get(parameter)
    ]
    optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]  # read by step
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]  # set above
    value = arrived()
    if not math.isfinite(value):
        # A first step that is skipped leaves a momentum that nothing was written to.
        for parameter in fresh:
            optimizer.state.pop(parameter, None)
    return value


def _begin_to_read(value: Tensor) -> Callable[[], float]:
    """Queue the copy of a scalar to the host; give what waits for this copy and no more."""
    if not value.is_cuda:
        return value.item
    copy = torch.empty_like(value, device="cpu", pin_memory=True)
    copy.copy_(value, non_blocking=True)
    arrival = torch.cuda.current_stream(value.device).record_event()

    def read() -> float:
        arrival.synchronize()  # host-device sync
        return copy.item()

    return read
