"""Stochastic weight averaging: which weights are taken, and their plain mean.

Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization" (2018),
Algorithm 1. Which steps are taken is a function of the plan; only the mean itself is kept.
"""

from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor, nn

from hftune.core import Progress, RunPlan
from hftune.errors import PlanError
from hftune.recipe.schema import SWARecipe
from hftune.train.checkpoint import Memory
from hftune.units import parse_span

# A mean of one point is that point.
FEWEST_POINTS = 2


@dataclass(kw_only=True)
class RunningMean:
    """The mean of `count` modules' parameters, by name, in float32 or wider."""

    values: dict[str, Tensor] = field(default_factory=dict)
    count: int = 0

    @torch.no_grad()
    def take(self, module: nn.Module) -> None:
        """Take the parameters of `module` in; all that were taken count the same.

        The update is that of `torch.optim.swa_utils.get_swa_avg_fn`, so what is equal in all
        members stays so bit for bit. Buffers are left out: those of batch norm are recomputed.
        """
        for name, parameter in module.named_parameters():
            wide = torch.promote_types(parameter.dtype, torch.float32)
            value = parameter.detach().to(wide)
            if self.count == 0:
                self.values[name] = value.clone()
            else:
                before = self.values[name].to(value.device)
                mean = before + (value - before) / (self.count + 1)
                # Where both are -0.0 the sum would be 0.0.
                self.values[name] = torch.where(value == before, before, mean)
        self.count += 1

    @torch.no_grad()
    def put_into(self, module: nn.Module) -> None:
        """Give the parameters of `module` the mean's values. Side effect: changes them in place."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self.values[name])


def open_mean(memory: Memory) -> RunningMean:
    """Give the mean that a run was at; an empty one at its beginning."""
    return RunningMean(values=dict(memory.swa or {}), count=memory.swa_count)


def settle_swa(
    swa: SWARecipe, *, steps_per_epoch: int, total_steps: int
) -> tuple[int | None, int | None]:
    """Give `swa_start` and `swa_every` of the plan in steps; None without averaging.

    Raises PlanError where fewer than two points would be taken.
    """
    if swa.start is None:
        return None, None
    spans = {"start": swa.start, "every": swa.every}
    start, every = (
        parse_span(text).steps(steps_per_epoch=steps_per_epoch, total_steps=total_steps)
        for text in spans.values()
    )
    every = max(1, every)
    start = start or every  # the weights that training starts from are no point of it
    if start >= total_steps or start + every > total_steps:
        name = "start" if start >= total_steps else "every"
        raise PlanError(
            "no second point would be left to average",
            found=f"optim.swa starts after step {start}, every {every} steps, "
            f"of {total_steps} in all",
            allowed=f"a start and an interval that end by step {total_steps} together",
            where=f"optim.swa.{name}",
            remedy="start earlier, or take weights more often: optim.swa.every='5%'",
        )
    return start, every


def takes_weights(plan: RunPlan, step: int) -> bool:
    """Say whether the weights after `step` steps are a point of the mean."""
    if plan.swa_start is None or plan.swa_every is None or step < plan.swa_start:
        return False
    return step == plan.total_steps or (step - plan.swa_start) % plan.swa_every == 0


def swa_steps(plan: RunPlan) -> tuple[int, ...]:
    """Give the steps after which weights are taken: from the start on, and after the last one."""
    if plan.swa_start is None or plan.swa_every is None:
        return ()
    regular = range(plan.swa_start, plan.total_steps, plan.swa_every)
    return tuple(chain(regular, (plan.total_steps,)))


def check_mean(plan: RunPlan, progress: Progress, memory: Memory) -> None:
    """Refuse to go on with a mean of other points than the plan's. Raises PlanError.

    That happens only where `train.length` changed after the first point was taken.
    """
    expected = sum(step <= progress.step for step in swa_steps(plan))
    if memory.swa_count != expected:
        raise PlanError(
            "the length of this run changed after averaging had begun",
            found=f"{memory.swa_count} points in the mean after step {progress.step}",
            allowed=f"{expected} points, by the length that is asked for now",
            where="train.length",
            remedy="go on with the old length, or start a new run with --output",
        )


def owes_average(plan: RunPlan, progress: Progress) -> bool:
    """Say whether training is over and the mean has not been judged yet."""
    over = progress.step >= plan.total_steps or progress.ended_early
    return plan.swa_start is not None and over and progress.averaged_at != progress.step
