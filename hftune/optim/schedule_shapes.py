"""The shapes of schedules: functions (progress in 0..1, *, options) -> multiplier of the peak rate.

They keep no state and stay within 0 and 1. An option that names a place in the run is a `Moment`
('30 epochs', '50%', 0.5); it reaches the function as a share of the run.
"""

import math
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Gt, Le, MinLen

from hftune.errors import PlanError
from hftune.recipe.forms import EveryText, SpanText, Text

Share = Annotated[float, Ge(0), Le(1)]
Moment: TypeAlias = SpanText | Share
Every: TypeAlias = EveryText | Annotated[float, Gt(0), Le(1)]
Factor = Annotated[float, Gt(0), Le(1)]

# Quotients of steps computed in floating point may fall just short of a whole number.
_ROUNDING = 1e-9


def constant(progress: float) -> float:  # noqa: ARG001  # the contract of the table
    """Stay at the peak."""
    return 1.0


def step(
    progress: float,
    *,
    every: Every | None = None,
    milestones: tuple[Moment, ...] = (),
    factor: Factor = 0.1,
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
        return multi_step(progress, milestones=milestones, factor=factor)
    return float(factor ** math.floor(progress / _length(every) + _ROUNDING))


def multi_step(
    progress: float,
    *,
    milestones: Annotated[tuple[Moment, ...], MinLen(1)],
    factor: Factor = 0.1,
) -> float:
    """Multiply by `factor` at each of `milestones`."""
    return float(factor ** sum(progress >= as_share(moment) for moment in milestones))


def exponential(progress: float, *, factor: Factor = 0.01, every: Every | None = None) -> float:
    """Fall by `factor` over each span of `every`, a little at every step.

    Without `every`, fall by `factor` once, over all that follows warm-up.
    """
    length = 1.0 if every is None else _length(every)
    return float(factor ** (progress / length))


def cosine(
    progress: float,
    *,
    floor: Share = 0.0,
    cycles: Annotated[int, Ge(1)] = 1,
    cycle_decay: Factor = 1.0,
    cycle_growth: Annotated[float, Ge(1)] = 1.0,
) -> float:
    """Fall from 1 to `floor` along half a cosine (Loshchilov and Hutter 2017, equation 5).

    With several `cycles` it starts again after each: every one is `cycle_growth` times as long as
    the one before it, and its peak `cycle_decay` times as high, but not below `floor`.
    """
    lengths = [cycle_growth**number for number in range(cycles)]
    place = progress * sum(lengths)
    number = 0
    while number < cycles - 1 and place >= lengths[number] * (1 - _ROUNDING):
        place -= lengths[number]
        number += 1
    peak = max(cycle_decay**number, floor)
    within = min(max(place / lengths[number], 0.0), 1.0)
    return floor + (peak - floor) * (1 + math.cos(math.pi * within)) / 2


def polynomial(
    progress: float, *, power: Annotated[float, Gt(0)] = 1.0, floor: Share = 0.0
) -> float:
    """Fall from 1 to `floor` by the `power` of what is left of the run; 1 is a straight line."""
    return float(floor + (1 - floor) * (1 - progress) ** power)


def one_cycle(
    progress: float,
    *,
    rise: Moment = "30%",
    start_divisor: Annotated[float, Ge(1)] = 25.0,
    end_divisor: Annotated[float, Ge(1)] = 1e4,
    shape: Literal["cosine", "linear"] = "cosine",
) -> float:
    """Rise to the peak over the span `rise`, then fall far below the start (Smith 2018).

    It starts at 1 / `start_divisor` and ends at the start divided by `end_divisor`.
    """
    top = as_share(rise)
    start = 1 / start_divisor
    if progress < top:
        return start + (1 - start) * (1 - _fall(progress / top, shape))
    end = start / end_divisor
    left = (progress - top) / (1 - top) if top < 1 else 0.0
    return end + (1 - end) * _fall(left, shape)


def wsd(
    progress: float,
    *,
    decay: Every = "20%",
    shape: Literal["linear", "cosine", "sqrt"] = "linear",
    floor: Share = 0.0,
) -> float:
    """Warm up, stay, decay: hold the peak, then fall to `floor` over the last span `decay`.

    The warm-up is the one that every schedule takes (Hu et al. 2024, section 4.2). `sqrt` falls by
    the root of the time since the decay began (Haegele et al. 2024, section 3). A `decay` longer
    than the run is the whole run.
    """
    length = min(_length(decay), 1.0)
    gone = min(max((progress - (1 - length)) / length, 0.0), 1.0)
    return floor + (1 - floor) * _fall(gone, shape)


def plateau(
    progress: float,  # noqa: ARG001  # the contract of the table
    *,
    metric: Text | None = None,  # noqa: ARG001  # these are read by hftune.optim.plateau
    factor: Annotated[float, Gt(0), Le(1)] = 0.1,  # noqa: ARG001
    patience: Annotated[int, Ge(0)] = 2,  # noqa: ARG001
    threshold: Annotated[float, Ge(0)] = 1e-4,  # noqa: ARG001
    threshold_mode: Literal["rel", "abs"] = "rel",  # noqa: ARG001
    cooldown: Annotated[int, Ge(0)] = 0,  # noqa: ARG001
    floor: Share = 0.0,  # noqa: ARG001
) -> float:
    """Stay at the peak: what the evaluations do to the rate is in `hftune.optim.plateau`."""
    return 1.0


def as_share(moment: float | str) -> float:
    """Give a moment that is a number already; texts are resolved by `make_schedule`."""
    if isinstance(moment, str):
        raise ValueError(f"'{moment}' is not yet a share of the run")
    return moment


def _length(every: float | str) -> float:
    """Give a span as a share of the run. Raises PlanError for one of no whole step."""
    length = as_share(every)
    if length <= 0:
        raise PlanError(
            "the schedule has a span of no time at all",
            found=f"{length:g} of the run, rounded to whole steps",
            allowed="a span of one step or more",
            where="optim.schedule",
        )
    return length


def _fall(gone: float, shape: str) -> float:
    """Give a fall from 1 to 0 for `gone` in 0..1."""
    if shape == "linear":
        return 1 - gone
    return (1 + math.cos(math.pi * gone)) / 2 if shape == "cosine" else 1 - math.sqrt(gone)
