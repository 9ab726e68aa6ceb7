"""What a search over settings found: its trials, the best of them, and what mattered."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["complete", "pruned", "failed"]
Axis = Literal["linear", "log", "choice"]


@dataclass(frozen=True, kw_only=True)
class Searched:
    """One searched setting: its range or choice as text, and how its axis is drawn."""

    setting: str
    text: str
    axis: Axis
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One trial: what it was given, and what came out.

    `values` holds the metric on validation after each evaluation, `value` the best of them; it is
    None for a trial that failed, whose `reason` says why. `seconds` are those of its training.
    """

    number: int
    state: State
    settings: Mapping[str, str | int | float]
    value: float | None = None
    values: tuple[float, ...] = ()
    seconds: float = 0.0
    reason: str | None = None

    @property
    def folder(self) -> str:
        """The name of its run folder within that of the search."""
        return trial_folder(self.number)


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A search as far as it came, in `folder`.

    `importance` holds each setting's share; None where too few trials are complete.
    """

    name: str
    folder: Path
    metric: str
    higher_is_better: bool
    searched: tuple[Searched, ...]
    trials: tuple[TrialResult, ...] = ()
    importance: Mapping[str, float] | None = None

    @property
    def ranked(self) -> tuple[TrialResult, ...]:
        """The complete trials, best first; of equals the earlier one."""
        done = [trial for trial in self.trials if trial.state == "complete"]
        return tuple(sorted(done, key=self._rank))

    @property
    def best(self) -> TrialResult | None:
        """The best complete trial, if any is complete."""
        return next(iter(self.ranked), None)

    def count(self, state: State) -> int:
        """Give the number of trials that ended in `state`."""
        return sum(trial.state == state for trial in self.trials)

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON values; a value that is not finite is null."""
        values = asdict(self)
        for trial in values["trials"]:
            trial["values"] = [_finite(value) for value in trial["values"]]
        best = self.best
        number = None if best is None else best.number
        return values | {"folder": str(self.folder), "best": number}

    def _rank(self, trial: TrialResult) -> tuple[float, int]:
        assert trial.value is not None
        return (-trial.value if self.higher_is_better else trial.value), trial.number


def trial_folder(number: int) -> str:
    """Give the name of a trial's run folder within that of the search."""
    return f"trial-{number:04d}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
