"""Schedules by name: how the learning rate moves, as a multiple of its peak.

A schedule is a function (progress in 0..1, *, options) -> multiplier, without state. To add one,
give `SCHEDULES` a line. An option that names a moment of the run ('30 epochs', '50%') is
annotated `Moment` and reaches the function as a share of the run.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeAlias, get_args

from annotated_types import Ge, Gt, Le

from hftune.components import check_options, find, option_hints
from hftune.errors import PlanError
from hftune.recipe.forms import SpanText, is_span
from hftune.recipe.schema import Component
from hftune.units import parse_span

Schedule = Callable[[int], float]
Share = Annotated[float, Ge(0), Le(1)]
Moment: TypeAlias = SpanText | Share

# The share of the peak rate at which warm-up starts.
WARMUP_START = 0.01

# Quotients of steps computed in floating point may fall just short of a whole number.
_ROUNDING = 1e-9


def constant(progress: float) -> float:  # noqa: ARG001  # the contract of the table
    """Stay at the peak."""
    return 1.0


def cosine(progress: float, *, floor: Share = 0.0) -> float:
    """Fall from 1 to `floor` along half a cosine (Loshchilov and Hutter 2017, equation 5)."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2


def step(
    progress: float,
    *,
    every: Moment | None = None,
    milestones: tuple[Moment, ...] = (),
    factor: Annotated[float, Gt(0), Le(1)] = 0.1,
) -> float:
    """Multiply by `factor` after each span of `every`, or at each of `milestones`.

    Raises PlanError unless exactly one of the two is given, and for an `every` of no length.
    """
    if (every is None) == (not milestones):
        raise PlanError(
            "the step schedule needs to know when to step",
            found="neither 'every' nor 'milestones'" if every is None else "both",
            allowed="every: 30 epochs, or milestones: [50%, 75%]",
            where="optim.schedule",
        )
    if every is None:
        return float(factor ** sum(progress >= as_share(moment) for moment in milestones))
    length = as_share(every)
    if length <= 0:
        raise PlanError(
            "the step schedule steps after no time at all",
            found=f"every: {every}",
            allowed="a span of one step or more",
            where="optim.schedule.every",
        )
    return float(factor ** math.floor(progress / length + _ROUNDING))


SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant,
    "cosine": cosine,
    "step": step,
}


def as_share(moment: float | str) -> float:
    """Give a moment that is a number already; texts are resolved by `make_schedule`."""
    if isinstance(moment, str):
        raise ValueError(f"'{moment}' is not yet a share of the run")
    return moment


def make_schedule(
    component: Component,
    *,
    total_steps: int,
    steps_per_epoch: int,
    folder: Path | None = None,
) -> Schedule:
    """Give the function from a step (0 to `total_steps` - 1) to the multiplier of the peak rate.

    The option `warmup`, which any schedule takes, is a span of W steps: the multiplier of step s
    below W rises by (0.01 + 0.99 s / W) and reaches the schedule's own at step W. A schedule with
    `Moment` options runs on the clock of the whole run, progress s / T, and warm-up multiplies it;
    any other is stretched over what follows warm-up, progress (s - W) / (T - W), so that it starts
    at the peak. `folder` is where relative './file.py' code lies. Raises ComponentError for
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

    moments = _moment_options(shape)
    resolved = {n: _resolve(v, to_share) if n in moments else v for n, v in checked.items()}
    origin = 0 if moments else warmup_steps

    def multiplier(at: int) -> float:
        progress = (at - origin) / (total_steps - origin)
        value = shape(min(max(progress, 0.0), 1.0), **resolved)
        if at < warmup_steps:
            value *= WARMUP_START + (1 - WARMUP_START) * at / warmup_steps
        return value

    multiplier(0)  # options that contradict each other are found now, not in training
    return multiplier


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


def _moment_options(function: Callable[..., float]) -> frozenset[str]:
    """Name the options that take moments of the run."""
    hints = option_hints(function)
    return frozenset(name for name, hint in hints.items() if _takes_span(hint))


def _takes_span(hint: object) -> bool:
    return hint == SpanText or any(_takes_span(part) for part in get_args(hint))


def _resolve(value: object, to_share: Callable[[str], float]) -> object:
    """Replace texts, also in a tuple, by their share of the run."""
    if isinstance(value, tuple):
        return tuple(_resolve(part, to_share) for part in value)
    return to_share(value) if isinstance(value, str) else value
