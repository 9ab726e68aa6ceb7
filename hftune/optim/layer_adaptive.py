"""Momentum with one step size per layer, read off the two moments of its gradient."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer


class LayerAdaptive(Optimizer):
    """Momentum whose step is scaled, tensor by tensor, by how steady the gradient is.

    With g the gradient, t the tensor's own step count, and every mean over one tensor:

        m = b1 m + (1 - b1) g            m' = m / (1 - b1^t)
        v = b2 v + (1 - b2) g^2          v' = v / (1 - b2^t)
        r = mean(|m'| / (sqrt(v') + eps))
        w = w - lr (decay w + r m')

    m' and v' are Adam's bias-corrected moments (Kingma and Ba 2015, algorithm 1). r is near 1 where
    gradients agree from step to step and near 0 where they cancel, so that a tensor with a steady
    gradient takes the longer step; at the first step r is 1 and the step is that of plain SGD. The
    rate is therefore one for SGD, not for Adam. Weight decay is decoupled, as in AdamW.

    The rule circulates in tutorials, where it goes wrong: without the corrections r starts near
    (1 - b1) / sqrt(1 - b2), about 3, and the first steps are of the wrong length; r is read to the
    host for every tensor at every step, which makes the device wait; groups are sorted by memory
    address, so that two runs differ; weight decay is accepted and dropped; and the moments are kept
    outside the optimizer's state, so that they are lost on reload.

    State per parameter, under torch's names: `exp_avg` and `exp_avg_sq`, shaped like it, and
    `step`, a float32 scalar on the CPU.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be at least 0 and below 1, not {betas}")
        if eps <= 0:
            raise ValueError(f"eps must be above 0, not {eps}")
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch overloads it
        """Take one step with the gradients as they are; without a host-device sync."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [value for value in group["params"] if value.grad is not None]
            if parameters:
                self._step_group(group, parameters)
        return loss

    def _step_group(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        first, second = group["betas"]
        states = [self._state_of(parameter) for parameter in parameters]
        gradients = [cast("Tensor", parameter.grad) for parameter in parameters]
        means = [state["exp_avg"] for state in states]
        squares = [state["exp_avg_sq"] for state in states]
        torch._foreach_add_([state["step"] for state in states], 1)
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)

        # The counts are on the CPU, so reading them makes no device wait.
        counts = [state["step"].item() for state in states]
        moments = list(torch._foreach_div(means, [1 - first**count for count in counts]))
        ratios = self._ratios(
            moments, squares, [1 - second**count for count in counts], group["eps"]
        )
        torch._foreach_mul_(moments, ratios)
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, moments, alpha=-group["lr"])

    @staticmethod
    def _ratios(
        moments: list[Tensor], squares: list[Tensor], corrections: list[float], eps: float
    ) -> list[Tensor]:
        """Give mean(|m'| / (sqrt(v') + eps)) of each tensor, as scalars on its device."""
        roots = torch._foreach_div(squares, corrections)
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, eps)
        steadiness = torch._foreach_div(moments, roots)
        ratios = torch._foreach_norm(steadiness, 1)
        torch._foreach_div_(ratios, [float(moment.numel()) for moment in moments])
        return list(ratios)

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state = cast("dict[str, Tensor]", self.state[parameter])
        if not state:
            state["step"] = torch.zeros(())
            for moment in ("exp_avg", "exp_avg_sq"):
                state[moment] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return state
