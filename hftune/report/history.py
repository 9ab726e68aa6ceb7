"""What `metrics.jsonl` tells: the training and evaluation lines of a run, in order."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftune.errors import RunFolderError
from hftune.train.run_facts import METRICS_FILE


@dataclass(frozen=True, kw_only=True)
class Point:
    """One report. `values` holds loss, lr and images_per_second, or loss and the metrics."""

    step: int
    epoch: float
    values: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class History:
    """The training reports, and the evaluations per split."""

    train: tuple[Point, ...]
    evaluations: dict[str, tuple[Point, ...]]

    @property
    def last(self) -> Point:
        """The latest report of all."""
        every = [*self.train, *(point for found in self.evaluations.values() for point in found)]
        return max(every, key=lambda point: point.step)


def read_history(run: Path) -> History:
    """Read a run's metrics. Raises RunFolderError when they are missing or hold no report.

    A last line that a kill cut short is left out.
    """
    path = run / METRICS_FILE
    if not path.is_file():
        raise RunFolderError(
            f"this run folder has no {METRICS_FILE}",
            where=str(run),
            remedy="train first: hftune train RECIPE",
        )
    train: list[Point] = []
    evaluations: dict[str, list[Point]] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        entry = _parse(line, where=where, is_last=number == len(lines))
        if entry is None:
            continue
        try:
            if entry.get("kind") == "train":
                train.append(_point(entry, entry))
            elif entry.get("kind") == "eval":
                numbers = {"loss": entry.get("loss"), **entry.get("values", {})}
                evaluations.setdefault(str(entry["split"]), []).append(_point(entry, numbers))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise RunFolderError("a line is no report", found=line[:80], where=where) from error
    if not train and not evaluations:
        raise RunFolderError("this run has not reported anything yet", where=str(path))
    return History(
        train=tuple(train), evaluations={name: tuple(found) for name, found in evaluations.items()}
    )


def _parse(line: str, *, where: str, is_last: bool) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = json.loads(line)
    except (ValueError, RecursionError) as error:
        if is_last:
            return None
        raise RunFolderError("a line is not JSON", found=line[:80], where=where) from error
    return entry


def _point(entry: dict[str, Any], numbers: dict[str, Any]) -> Point:
    """Keep the finite numbers of a line; a loss that is not finite is written as text."""
    values = {
        name: float(value)
        for name, value in numbers.items()
        if isinstance(value, int | float) and name not in ("step", "epoch")
    }
    return Point(step=int(entry["step"]), epoch=float(entry["epoch"]), values=values)
