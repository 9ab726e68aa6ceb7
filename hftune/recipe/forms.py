"""The forms that a setting's text may have: spans, times, shares, multiples, names.

Each form is an annotation: a function that says whether a text has it, and the words (`doc`) with
which messages and the JSON schema say what it is.
"""

import re
from typing import Annotated

from annotated_types import Ge, MinLen, Predicate, doc

from hftune.errors import UnitError
from hftune.units import parse_duration, parse_size, parse_span

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MULTIPLE = re.compile(r"(\d+\.?\d*|\.\d+)x")


def is_span(text: str) -> bool:
    """Say whether `text` is a share of the run, steps or epochs."""
    try:
        parse_span(text)
    except UnitError:
        return False
    return True


def is_step_of_run(text: str) -> bool:
    """Say whether `text` is a share of the run, steps or epochs, above zero."""
    return is_span(text) and parse_span(text).value > 0


def is_length(text: str) -> bool:
    """Say whether `text` is a number of steps or epochs above zero."""
    return is_step_of_run(text) and parse_span(text).unit != "percent"


def is_duration(text: str) -> bool:
    """Say whether `text` is a wall-clock duration above zero."""
    try:
        return parse_duration(text) > 0
    except UnitError:
        return False


def is_size(text: str) -> bool:
    """Say whether `text` is a number of bytes, zero or more."""
    try:
        return parse_size(text) >= 0
    except UnitError:
        return False


def is_interval(text: str) -> bool:
    """Say whether `text` is a wall-clock duration or a number of steps or epochs above zero."""
    return is_duration(text) or is_length(text)


def is_share(text: str) -> bool:
    """Say whether `text` is a percentage between 0% and 100%."""
    return is_span(text) and parse_span(text).unit == "percent"


def is_multiple(text: str) -> bool:
    """Say whether `text` is a multiple such as '3x' or '0.1x', above zero or zero."""
    return _MULTIPLE.fullmatch(text.strip()) is not None


def is_run_name(text: str) -> bool:
    """Say whether `text` can be the name of a folder everywhere."""
    return _RUN_NAME.fullmatch(text) is not None


# `doc` is what a message and the JSON schema say is allowed.
SpanText = Annotated[
    str,
    Predicate(is_span),
    doc("a share of the run up to '100%', or steps or epochs, such as '300 steps' or '2 epochs'"),
]
EveryText = Annotated[
    str,
    Predicate(is_step_of_run),
    doc("steps, epochs or a share of the run above zero, such as '300 steps', '1 epoch' or '5%'"),
]
LengthText = Annotated[
    str,
    Predicate(is_length),
    doc("a number of epochs or steps above zero, such as '10 epochs' or '500 steps'"),
]
DurationText = Annotated[
    str, Predicate(is_duration), doc("a time above zero, such as '90 s', '45 min' or '3 h'")
]
IntervalText = Annotated[
    str,
    Predicate(is_interval),
    doc("a time, steps or epochs above zero, such as '10 min', '500 steps' or '1 epoch'"),
]
SizeText = Annotated[
    str, Predicate(is_size), doc("a size such as '20 GiB' or '500 MB', or '0 GiB' for none")
]
ShareText = Annotated[
    str, Predicate(is_share), doc("a percentage between '0%' and '100%', such as '10%'")
]
Rate = (
    Annotated[float, Ge(0)]
    | Annotated[str, Predicate(is_multiple), doc("a multiple of optim.lr such as '3x'")]
)
RunName = Annotated[
    str,
    Predicate(is_run_name),
    doc("a name of letters, digits, '-', '_' and '.', the first a letter or digit"),
]
PixelSide = Annotated[int, Ge(8)]
Text = Annotated[str, MinLen(1), doc("some text")]
