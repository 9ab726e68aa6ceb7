"""The recipe's trackers, through Accelerate's classes: one run each, whatever happens to ours."""

import contextlib
import io
import json
import logging
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers
from accelerate.utils import LoggerType

from hftune.core import Progress
from hftune.errors import AbilityError, MissingPackageError, PlanError
from hftune.files import write_json
from hftune.log import without_secrets
from hftune.recipe.schema import Recipe
from hftune.recipe.show import to_dict
from hftune.train.json_record import read_mapping

logger = logging.getLogger(__name__)

# By which name each tracker knows this run, so that a resumed run goes on with the same.
TRACKERS_FILE = "trackers.json"

# A point is known by the kind of its line in metrics.jsonl, its split and its step.
Point = tuple[str, str, int]


def check_trackers(names: Sequence[str]) -> None:
    """Raise PlanError for an unknown tracker, MissingPackageError for one that is not installed."""
    known = [kind.value for kind in LoggerType if kind is not LoggerType.ALL]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise PlanError(
            "there is no such tracker",
            found=", ".join(unknown),
            allowed=", ".join(sorted(known)),
            where="track.trackers",
        )
    installed = [str(kind) for kind in get_available_trackers()]
    missing = [name for name in names if name not in installed]
    if missing:
        raise MissingPackageError(
            "a tracker that the recipe asks for is not installed",
            found=", ".join(missing),
            where="track.trackers",
            remedy=f"pip install {' '.join(missing)}; or train without: track.trackers=[]",
        )


class Trackers:
    """The trackers of one run, on rank 0. Use as a context manager around the loop.

    One that fails in a run that has begun is named in a warning and gets nothing more: no number is
    lost, for metrics.jsonl has them all. `told` are the points that an earlier life of the run told
    already: a step that is taken again is not told again.
    """

    def __init__(self, recipe: Recipe, run: Path, *, told: Collection[Point]) -> None:
        self.recipe = recipe
        self.run = run
        self.told = set(told)
        self.open: dict[str, GeneralTracker] = {}

    def __enter__(self) -> Self:
        """Start each tracker, or go on with its run. Raises AbilityError where a new run cannot."""
        path = self.run / TRACKERS_FILE
        known = read_mapping(path) if path.is_file() else {}
        names = {"run": known.get("run") or f"{self.recipe.run}-{secrets.token_hex(4)}", **known}
        for name in dict.fromkeys(self.recipe.track.trackers):
            try:
                with contextlib.redirect_stdout(io.StringIO()):  # results alone go there
                    names |= self._start(name, names)
            except Exception as error:  # a tracker may raise anything
                if not known:
                    raise _cannot_start(name, error) from error
                self._leave_out(name, error)
        write_json(path, names)
        return self

    def __exit__(self, *_: object) -> None:
        """Have each tracker send what it holds, and end its run."""
        for name, tracker in self.open.items():
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    _finish(name, tracker)
            except Exception as error:  # noqa: BLE001  # a tracker may raise anything
                logger.warning("tracker '%s' could not end its run: %s", name, _words(error))

    def log(
        self, entry: Mapping[str, object], more: Mapping[str, float], *, progress: Progress
    ) -> None:
        """Tell a line of metrics.jsonl and what trackers get besides, unless it was told before."""
        point = point_of(entry)
        if point in self.told:
            return
        self.told.add(point)
        values = {**flat(entry), **more}
        for name, tracker in list(self.open.items()):
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    tracker.log(values, step=progress.step)
            except Exception as error:  # noqa: BLE001  # a tracker may raise anything
                self._leave_out(name, error)
                del self.open[name]

    def _start(self, name: str, names: Mapping[str, Any]) -> dict[str, str]:
        """Start one tracker and give what is to be known of it."""
        settings = settings_of(self.recipe)
        more = {"config": settings} if name == "trackio" else {}  # it takes none afterwards
        tracker = LOGGER_TYPE_TO_CLASS[name](*self._place(name), **_identity(name, names), **more)
        tracker.start()
        if name == "tensorboard" and name not in names:  # Accelerate would make a second run of it
            tracker.tracker.add_hparams(settings, {}, run_name=".")
        elif name not in names:
            tracker.store_init_configuration(settings)
        self.open[name] = tracker
        known = tracker.tracker.info.run_id if name == "mlflow" else names["run"]
        logger.info("tracker '%s': run '%s' of '%s'", name, known, self.recipe.run)
        return {name: known}

    def _place(self, name: str) -> tuple[object, ...]:
        """Give where a tracker writes: a folder in the run, or a project named as the recipe."""
        if LOGGER_TYPE_TO_CLASS[name].requires_logging_directory:
            return name, self.run
        return (self.recipe.run,)

    def _leave_out(self, name: str, error: Exception) -> None:
        logger.warning(
            "tracker '%s' gets nothing more from this process: %s; metrics.jsonl has all numbers",
            name,
            _words(error),
        )


def _finish(name: str, tracker: GeneralTracker) -> None:
    """Have a tracker send what it holds, and end its run."""
    if name != "trackio":
        tracker.finish()
        return
    import trackio  # optional

    trackio.finish()  # Accelerate's way ends it without saying so, and it ends, and prints, again


def point_of(entry: Mapping[str, object]) -> Point:
    """Give by what a line of metrics.jsonl is known."""
    step = entry["step"]
    assert isinstance(step, int)
    return str(entry["kind"]), str(entry.get("split", "")), step


def flat(entry: Mapping[str, object]) -> dict[str, object]:
    """Give a line of metrics.jsonl as the flat mapping of numbers that trackers take."""
    kind = str(entry["split"] if entry["kind"] == "eval" else entry["kind"])
    numbers: dict[str, object] = {}
    for name, value in entry.items():
        if isinstance(value, dict):
            numbers.update({f"{kind}/{inner}": number for inner, number in value.items()})
        elif isinstance(value, (int, float)) and name != "step":
            numbers[f"{kind}/{name}"] = value
    return numbers


def rate_name(label: str) -> str:
    """Give the name under which trackers keep the rate of a parameter group.

    Groups that differ in weight decay only have one rate. MLflow takes few characters but words.
    """
    return re.sub(r"[^\w.-]+", " ", label.removesuffix(", no decay")).strip()


def settings_of(recipe: Recipe) -> dict[str, bool | int | float | str]:
    """Give every setting by its dotted name, as trackers keep hyperparameters; no secret in it."""
    found: dict[str, bool | int | float | str] = {}

    def add(name: str, value: object) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                add(f"{name}.{key}" if name else str(key), inner)
        elif isinstance(value, (bool, int, float)):
            found[name] = value
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            found[name] = without_secrets(text)

    add("", to_dict(recipe))
    return found


def _identity(name: str, names: Mapping[str, Any]) -> dict[str, object]:
    """Give the options by which a tracker finds the run that it is to go on with, or names it."""
    run = names["run"]
    if name == "wandb":
        return {"id": run, "name": run, "resume": "allow"}
    if name == "trackio":
        return {"name": run, "resume": "allow"}
    if name == "mlflow":
        return {"run_name": run, "run_id": names.get("mlflow")}
    return {}


def _cannot_start(name: str, error: Exception) -> AbilityError:
    return AbilityError(
        f"the tracker '{name}' cannot be started",
        found=_words(error),
        where="track.trackers",
        remedy="set it up as its documentation says; or train without: track.trackers=[]",
    )


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
