"""How a search goes on, and what it hands out: samplers, pruners, grids, trials. No Optuna here."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hftune.errors import RequestError
from hftune.tune.space import Choice, Space, Value

Sampler = Literal["tpe", "random", "grid"]
Pruner = Literal["median", "none"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """How the next trial is chosen, and when one is given up."""

    sampler: Sampler = "tpe"
    pruner: Pruner = "median"
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial to run: its number, and the drawn value of every searched setting."""

    number: int
    drawn: Mapping[str, Value]


def shown_settings(space: Space, drawn: Mapping[str, Value]) -> dict[str, Value]:
    """Give what a trial's settings were: numbers as they were trained with, choices as text."""
    return {
        one.setting: drawn[one.setting]
        if isinstance(one, Choice)
        else one.number(float(drawn[one.setting]))
        for one in space
    }


def check_method(method: Method, space: Space) -> None:
    """Raise RequestError for a grid over a space that has no end."""
    if method.sampler != "grid":
        return
    endless = [one for one in space if not isinstance(one, Choice) and not one.is_whole]
    if endless:
        raise RequestError(
            "a grid needs settings with a limited number of values",
            found=", ".join(f"{one.setting}={one}" for one in endless),
            allowed="choices such as 1e-4|1e-3, and ranges of whole numbers",
            remedy="list their values, or take --sampler tpe",
        )


def grid_of(space: Space) -> dict[str, list[Value]]:
    """Give every value of every setting. Only for a space that `check_method` lets through."""
    return {
        one.setting: list(one.texts)
        if isinstance(one, Choice)
        else list(range(int(one.low), int(one.high) + 1))
        for one in space
    }


def most_trials(method: Method, space: Space) -> int | None:
    """Give the number of points of a grid; None for what goes on without end."""
    if method.sampler != "grid":
        return None
    return math.prod(len(values) for values in grid_of(space).values())
