"""Text with a unit -> a number: spans of training, wall-clock durations, sizes in bytes."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from hftune.errors import UnitError

SpanUnit = Literal["percent", "steps", "epochs"]

_NUMBER = r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_SPAN = re.compile(_NUMBER + r"\s*(?P<unit>%|steps?|epochs?)")
_DURATION = re.compile(_NUMBER + r"\s*(?P<unit>s|sec|seconds?|min|minutes?|h|hours?|d|days?)")
_SIZE = re.compile(_NUMBER + r"\s*(?P<unit>B|[kKMGT]B|[KMGT]iB)")

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


@dataclass(frozen=True, kw_only=True)
class Span:
    """A part of a run: a share of its length in percent, a number of steps, or of epochs."""

    value: float
    unit: SpanUnit

    def steps(self, *, steps_per_epoch: int, total_steps: int | None = None) -> int:
        """Give whole steps, rounded to the nearest; a percentage needs `total_steps`."""
        if self.unit == "steps":
            return round(self.value)
        if self.unit == "epochs":
            return round(self.value * steps_per_epoch)
        if total_steps is None:
            raise UnitError(
                "a percentage cannot be used here",
                found=f"{self.value:g}%",
                allowed="a number of steps or epochs, such as '500 steps' or '3 epochs'",
            )
        return round(self.value / 100 * total_steps)


def parse_span(text: str) -> Span:
    """Read '5%', '300 steps' or '2.5 epochs'. Raise UnitError for anything else."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise _unit_error(text, "a share, steps or epochs, such as '5%', '300 steps', '2 epochs'")
    value = _finite(match["number"], text)
    unit: SpanUnit = "percent" if match["unit"] == "%" else _span_unit(match["unit"])
    if unit == "steps" and not value.is_integer():
        raise _unit_error(text, "a whole number of steps")
    if unit == "percent" and value > 100:
        raise _unit_error(text, "0% to 100%")
    return Span(value=value, unit=unit)


def parse_duration(text: str) -> float:
    """Read '90 s', '10 min', '1.5 h' or '2 days' as seconds. Raise UnitError for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise _unit_error(text, "a duration such as '90 s', '10 min' or '3 h'")
    return _finite(match["number"], text) * _SECONDS[match["unit"][0]]


def parse_size(text: str) -> int:
    """Read '20 GiB' (powers of 1024) or '20 GB' (powers of 1000) as bytes."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise _unit_error(text, "a size such as '500 MiB' or '20 GB'")
    unit = match["unit"]
    base = 1024.0 if "i" in unit else 1000.0
    power = _POWERS[unit.rstrip("B").rstrip("i")]
    return round(_finite(match["number"], text) * math.pow(base, power))


def format_size(num_bytes: int) -> str:
    """Give bytes as a short text in powers of 1024, such as '13.6 MiB'."""
    value = float(num_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def format_duration(seconds: float) -> str:
    """Give seconds as a short text, such as '45 s', '3 min 20 s' or '2 h 05 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _span_unit(text: str) -> SpanUnit:
    return "steps" if text.startswith("step") else "epochs"


def _finite(number: str, text: str) -> float:
    value = float(number)
    if not math.isfinite(value) or value < 0:
        raise _unit_error(text, "a number that is not negative")
    return value


def _unit_error(text: str, allowed: str) -> UnitError:
    return UnitError(f"'{text}' cannot be read", found=repr(text), allowed=allowed)
