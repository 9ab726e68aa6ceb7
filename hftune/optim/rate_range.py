"""The range test's arithmetic: which rates to try, and what a curve of losses over them says.

Smith 2017 (Cyclical Learning Rates, section 3.3): let the rate rise while the model trains, and
see where the loss falls and where it no longer does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hftune.errors import RequestError

# The smoothed loss over its smallest value so far at which a model may be lost, as in fastai.
DIVERGED = 4.0
FEWEST_STEPS = 10

# Parts of the range: what the smoothing looks back on, and each side of a slope's window.
_LOOK_BACK = 1 / 20
_HALF_WINDOW = 1 / 20
_SHORTEST_LOOK_BACK = 4
_SHORTEST_HALF_WINDOW = 2
# A fall in standard deviations of the smoothed loss that noise alone does not give.
_CLEAR_FALL = 5.0
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class RateRange:
    """`steps` rates from `lowest` to `highest`, each the same multiple of the one before it."""

    lowest: float = 1e-7
    highest: float = 1.0
    steps: int = 100

    def rates(self) -> tuple[float, ...]:
        """Give the rates in rising order; the ends are exact."""
        ratio = math.log(self.highest / self.lowest) / (self.steps - 1)
        inner = (self.lowest * math.exp(ratio * step) for step in range(1, self.steps - 1))
        return (self.lowest, *inner, self.highest)


@dataclass(frozen=True, kw_only=True)
class RateCurve:
    """What a range test saw: the rate of each step, and the loss that the step began with.

    `smooth` is the running mean of `losses`. `ends_early` says that the loss diverged.
    """

    range: RateRange
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smooth: tuple[float, ...]
    ends_early: bool


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """`rate` is the one to use, or None with the `reason` why the curve gives no answer.

    `steepest` is where the smoothed loss falls fastest, `bound` a tenth of the rate at its minimum.
    """

    rate: float | None = None
    steepest: float | None = None
    bound: float | None = None
    reason: str | None = None


def check_range(wanted: RateRange) -> None:
    """Raise RequestError with everything that is wrong with the range."""
    wrong = []
    for name, rate in (("lowest", wanted.lowest), ("highest", wanted.highest)):
        if not (math.isfinite(rate) and rate > 0):
            wrong.append(f"{name} rate {rate:g}: give a number above zero")
    if not wrong and wanted.lowest >= wanted.highest:
        wrong.append(f"from {wanted.lowest:g} to {wanted.highest:g}: the rate has to rise")
    if wanted.steps < FEWEST_STEPS:
        wrong.append(f"{wanted.steps} steps: give {FEWEST_STEPS} or more")
    if wrong:
        raise RequestError(
            "this range of rates cannot be tested",
            found="\n".join(wrong),
            allowed="a lower and a higher rate such as 1e-7 and 1, and 100 steps between them",
        )


def smoothed(losses: Sequence[float], wanted: RateRange) -> list[float]:
    """Give the running mean of the losses, corrected for its start at zero.

    m_i = b m_(i-1) + (1 - b) loss_i, divided by 1 - b ** (i + 1) (Kingma and Ba 2015, section 3);
    b is such that the mean looks back on a twentieth of the range's steps.
    """
    keep = _keep(wanted)
    mean, found = 0.0, []
    for number, loss in enumerate(losses, start=1):
        mean = keep * mean + (1 - keep) * loss
        found.append(mean / (1 - keep**number))
    return found


def has_diverged(smooth: Sequence[float]) -> bool:
    """Say whether the last smoothed loss is no number, or above the first and far above the best.

    A loss that was nearly nothing and is a little more has not diverged.
    """
    last = smooth[-1]
    return not math.isfinite(last) or (last > smooth[0] and last > DIVERGED * min(smooth))


def suggest(curve: RateCurve) -> Suggestion:
    """Give the rate where the smoothed loss falls steepest over the logarithm of the rate.

    It is cut down to a tenth of the rate at the minimum of the smoothed loss, where that is lower.
    The slope at a rate is that of the straight line through a tenth of the range's steps around
    it. There is no answer where the loss rose from the start, where its fall could be noise (less
    than five standard deviations of the smoothed loss), and where it still falls at the end.
    """
    half = max(_SHORTEST_HALF_WINDOW, round(_HALF_WINDOW * curve.range.steps))
    lowest = min(range(len(curve.smooth)), key=curve.smooth.__getitem__, default=0)
    if lowest <= 2 * half:
        return Suggestion(reason="the loss did not fall before it rose; begin at a lower rate")
    before = curve.losses[: lowest // 2]
    start = sum(before) / len(before)
    fall = start - curve.smooth[lowest]
    if fall < max(_CLEAR_FALL * _noise(curve, lowest), _ROUNDING * abs(start)):
        return Suggestion(
            reason="the loss fell no more than chance would have it; take more steps or a larger "
            "batch, or go on to higher rates"
        )
    if lowest >= len(curve.smooth) - half and not curve.ends_early:
        return Suggestion(reason="the loss was still falling at the highest rate; go on further up")
    inner = range(2 * half, min(lowest, len(curve.smooth) - half - 1) + 1)
    steepest = curve.rates[min(inner, key=lambda place: _slope(curve.smooth, place, half))]
    bound = curve.rates[lowest] / 10
    return Suggestion(rate=min(steepest, bound), steepest=steepest, bound=bound)


def _keep(wanted: RateRange) -> float:
    """Give the share of the running mean that a step leaves."""
    return 1 - 1 / max(_SHORTEST_LOOK_BACK, _LOOK_BACK * wanted.steps)


def _noise(curve: RateCurve, stop: int) -> float:
    """Give the standard deviation of the smoothed loss, from how neighbouring losses differ.

    Independent losses of variance v differ by 2 v in the mean square, and their running mean has
    the variance v (1 - b) / (1 + b).
    """
    squares = [(after - before) ** 2 for before, after in pairwise(curve.losses[:stop])]
    keep = _keep(curve.range)
    return math.sqrt(sum(squares) / len(squares) / 2 * (1 - keep) / (1 + keep))


def _slope(values: Sequence[float], place: int, half: int) -> float:
    """Give the slope of the least-squares line through the values around `place`, per step."""
    offsets = range(-half, half + 1)
    total = sum(offset * values[place + offset] for offset in offsets)
    return total / sum(offset * offset for offset in offsets)
