"""Schedules by name: how the learning rate moves, as a multiple of its peak.

A schedule is a function (progress in 0..1, *, options) -> multiplier, without state. To add one,
give `SCHEDULES` a line. An option that names a moment of the run ('30 epochs', '50%') is
annotated `Moment` and reaches the function as a share of the run.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from hftune.components import check_options, find, option_hints
from hftune.errors import PlanError
from hftune.optim.schedule_shapes import (
    Moment,
    constant,
    cosine,
    exponential,
    multi_step,
    one_cycle,
    plateau,
    polynomial,
    step,
    wsd,
)
from hftune.recipe.forms import EveryText, SpanText, is_span
from hftune.recipe.schema import Component
from hftune.units import parse_span

__all__ = ["PLATEAU", "SCHEDULES", "WARMUP_START", "Moment", "Schedule", "make_schedule"]

Schedule = Callable[[int], float]

# The share of the peak rate at which warm-up starts.
WARMUP_START = 0.01

# The one schedule with memory: see hftune.optim.plateau.
PLATEAU = "plateau"

SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant,
    "step": step,
    "multi_step": multi_step,
    "exponential": exponential,
    "cosine": cosine,
    "polynomial": polynomial,
    "one_cycle": one_cycle,
    "wsd": wsd,
    PLATEAU: plateau,
}


def make_schedule(
    component: Component,
    *,
    total_steps: int,
    steps_per_epoch: int,
    folder: Path | None = None,
) -> Schedule:
    """Give the function from a step (0 to `total_steps` - 1) to the multiplier of the peak rate.

    The option `warmup`, which any schedule takes, is a span of W steps: the multiplier of step s
    below W rises by (0.01 + 0.99 s / W) and reaches the schedule's own at step W. A schedule that
    is given a `Moment` runs on the clock of the whole run, progress s / T, and warm-up multiplies
    it; any other is stretched over what follows warm-up, progress (s - W) / (T - W), so that it
    starts at the peak. `folder` is where relative './file.py' code lies. Raises ComponentError for
    unknown names and wrong options, PlanError for a warm-up that leaves no step.
    """
    options = dict(component.options)
    warmup_steps = _warmup_steps(
        options.pop("warmup", "0%"), total_steps=total_steps, steps_per_epoch=steps_per_epoch
    )
    shape = find(component.name, SCHEDULES, family="schedule", folder=folder)
    checked = check_options(shape, options, where=f"schedule '{component.name}'")

    def to_share(text: str) -> float:
        span = parse_span(text)
        return span.steps(steps_per_epoch=steps_per_epoch, total_steps=total_steps) / total_steps

    moments = {n: _resolve(v, to_share) for n, v in _given_moments(shape, checked).items()}
    resolved = checked | moments
    origin = 0 if moments else warmup_steps

    def multiplier(at: int) -> float:
        progress = (at - origin) / (total_steps - origin)
        value = shape(min(max(progress, 0.0), 1.0), **resolved)
        return value * warmup_multiplier(at, warmup_steps)

    multiplier(0)  # options that contradict each other are found now, not in training
    return multiplier


def warmup_multiplier(step: int, warmup_steps: int) -> float:
    """Give the share of the rate at `step` of a linear rise over `warmup_steps` steps; then 1."""
    if step >= warmup_steps:
        return 1.0
    return WARMUP_START + (1 - WARMUP_START) * step / warmup_steps


def _warmup_steps(span: object, *, total_steps: int, steps_per_epoch: int) -> int:
    if not (isinstance(span, str) and is_span(span)):
        raise PlanError(
            "the warm-up of the schedule cannot be read",
            found=repr(span),
            allowed="a share, steps or epochs, such as '5%', '300 steps', '2 epochs'",
            where="optim.schedule.warmup",
        )
    steps = parse_span(span).steps(steps_per_epoch=steps_per_epoch, total_steps=total_steps)
    if steps >= total_steps:
        raise PlanError(
            "warm-up leaves no step of training at the peak rate",
            found=f"warmup: {span}, which is {steps} of {total_steps} steps",
            allowed=f"up to {total_steps - 1} steps",
            where="optim.schedule.warmup",
            remedy="make it shorter or train.length longer",
        )
    return steps


def _given_moments(function: Callable[..., float], options: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options that name moments of the run, defaults included, where they name any."""
    values = {
        name: options.get(name, inspect.signature(function).parameters[name].default)
        for name, hint in option_hints(function).items()
        if _takes_span(hint)
    }
    return {name: value for name, value in values.items() if value not in (None, ())}


def _takes_span(hint: object) -> bool:
    return hint in (SpanText, EveryText) or any(_takes_span(part) for part in get_args(hint))


def _resolve(value: object, to_share: Callable[[str], float]) -> object:
    """Replace texts, also in a tuple, by their share of the run."""
    if isinstance(value, tuple):
        return tuple(_resolve(part, to_share) for part in value)
    return to_share(value) if isinstance(value, str) else value
