"""What a finished run leaves for those who publish, plot, describe or use it: JSON files.

`model.json`, `data.json` and `results.json` lie in the run folder beside `recipe.yaml`. Each is one
dataclass below, written with `to_json` and read back here. No torch, no Accelerate.

    model.json    ModelRecord    how to build the module again, and what it wants to see
    data.json     DataRecord     where the images came from, and what each split held
    results.json  ResultsRecord  the evaluations of the best weights, and the run in numbers
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hftune.core import (
    BaseFacts,
    DataFacts,
    EvalResult,
    HeadStart,
    InputSpec,
    LabelSpace,
    OldClasses,
    ProblemName,
    Spread,
)
from hftune.errors import RunFolderError
from hftune.train.average_record import (
    AverageRecord,
    SoupRecord,
    read_average_record,
    read_soup_record,
)
from hftune.train.json_record import build_record, read_mapping
from hftune.train.pins import PINS_FILE, Pins, read_pins

MODEL_FILE = "model.json"
DATA_FILE = "data.json"
RESULTS_FILE = "results.json"
METRICS_FILE = "metrics.jsonl"
PLAN_FILE = "plan.json"
BEST_WEIGHTS = "best/model.safetensors"
BEST_STATE = "best/state.json"


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """How to build the trained module again.

    `architecture` is timm's name without a weight tag; `model_args` are the constructor options
    that the weights depend on; `label_names` are in training order. `pretrained_cfg` is the
    module's own at the end of training. `weights_report` counts what matched and lists the names
    that were reset, missing or left over when the base was loaded; `head` says which classes took
    over rows of its head, if any did.
    """

    architecture: str
    model_args: Mapping[str, Any]
    label_names: tuple[str, ...]
    problem: ProblemName
    input_spec: InputSpec
    base: BaseFacts
    pretrained_cfg: Mapping[str, Any] = field(default_factory=dict)
    weights_report: Mapping[str, Any] = field(default_factory=dict)
    head: HeadStart | None = None

    @property
    def labels(self) -> LabelSpace:
        """What the model tells apart, or the number that it gives; nothing about the data."""
        return LabelSpace(
            names=self.label_names,
            multi=self.problem == "multi_label",
            numeric=self.problem == "regression",
        )

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class SplitRecord:
    """One split: its number of examples, its digest, and its examples per class name.

    With regression there are no classes; `spread` says what the targets are like.
    """

    count: int
    digest: str
    per_class: Mapping[str, int] = field(default_factory=dict)
    spread: Spread | None = None


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """Where the data came from, and its splits by name (train, val, perhaps test)."""

    facts: DataFacts
    splits: Mapping[str, SplitRecord]

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class PhaseRecord:
    """One phase as it ran: steps `start` to `stop` (exclusive) and how many parameters moved."""

    label: str
    start: int
    stop: int
    num_trainable: int


@dataclass(frozen=True, kw_only=True)
class ResultsRecord:
    """What came out. `evaluations` hold one result per split (val, test) of the best weights.

    `best_metric` is what picked them, `best_value` its value on the validation split at
    `best_step`. `steps` and `epochs` were trained in `seconds`; `images_per_second` is their rate.
    `old_classes` compares with the base, split by split, where all its classes are classes still.
    """

    evaluations: tuple[EvalResult, ...]
    best_step: int
    best_metric: str
    best_value: float | None
    steps: int
    epochs: float
    seconds: float
    images_per_second: float
    num_parameters: int
    phases: tuple[PhaseRecord, ...] = ()
    ended_early: bool = False
    old_classes: tuple[OldClasses, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON values."""
        return asdict(self)

    def of(self, split: str) -> EvalResult | None:
        """Give the evaluation of `split`, if there was one."""
        return next((result for result in self.evaluations if result.split == split), None)


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """A finished run, read. `environment` is environment.json as it stands, or {}.

    `pins` are the commits that it took; `average` is None where optim.swa averaged nothing, `soup`
    where the folder is no soup.
    """

    folder: Path
    name: str
    model: ModelRecord
    data: DataRecord
    results: ResultsRecord
    weights: Path
    environment: Mapping[str, Any]
    pins: Pins
    average: AverageRecord | None = None
    soup: SoupRecord | None = None

    @property
    def labels(self) -> LabelSpace:
        """The classes with their training counts, or the number with its training targets."""
        labels = self.model.labels
        train = self.data.splits.get("train")
        if train is None:
            return labels
        counts = tuple(train.per_class.get(name, 0) for name in labels.names)
        return replace(
            labels,
            counts=() if labels.numeric else counts,
            num_examples=train.count,
            spread=train.spread,
        )


def read_run(run: Path) -> RunFacts:
    """Read a finished run's folder. Raises RunFolderError when a part is missing or damaged."""
    weights = _need(run, BEST_WEIGHTS)
    environment = run / "environment.json"
    return RunFacts(
        folder=run,
        name=run.resolve().name,
        model=read_model_record(run),
        data=read_data_record(run),
        results=read_results_record(run),
        weights=weights,
        environment=_read_environment(environment) if environment.is_file() else {},
        pins=read_pins(_need(run, PINS_FILE)),
        average=read_average_record(run),
        soup=read_soup_record(run),
    )


def _read_environment(path: Path) -> dict[str, Any]:
    """Read environment.json, in whose values the card trusts. Raises RunFolderError."""
    told = read_mapping(path)
    kinds = {"python": str, "versions": dict, "processes": int}
    odd = [key for key, kind in kinds.items() if key in told and not isinstance(told[key], kind)]
    if odd:
        raise RunFolderError(
            "a value in a file of this run is of another kind",
            found=", ".join(f"{key}: {type(told[key]).__name__}" for key in odd),
            where=str(path),
        )
    return told


def read_plan(run: Path) -> Mapping[str, Any]:
    """Give `plan.json` as it stands; nothing where there is none. Raises RunFolderError."""
    path = run / PLAN_FILE
    return read_mapping(path) if path.is_file() else {}


def read_model_record(run: Path) -> ModelRecord:
    """Read `model.json`. Raises RunFolderError."""
    path = _need(run, MODEL_FILE)
    return build_record(ModelRecord, read_mapping(path), str(path))


def read_data_record(run: Path) -> DataRecord:
    """Read `data.json`. Raises RunFolderError."""
    path = _need(run, DATA_FILE)
    return build_record(DataRecord, read_mapping(path), str(path))


def read_results_record(run: Path) -> ResultsRecord:
    """Read `results.json`. Raises RunFolderError."""
    path = _need(run, RESULTS_FILE)
    return build_record(ResultsRecord, read_mapping(path), str(path))


def _need(run: Path, name: str) -> Path:
    """Give the path of a file that a finished run has. Raises RunFolderError."""
    if not run.is_dir():
        raise RunFolderError(
            "no such run folder", where=str(run), remedy="train first: hftune train RECIPE"
        )
    path = run / name
    if not path.is_file():
        raise RunFolderError(
            f"this run folder has no {name}",
            where=str(run),
            remedy="let the run finish: the same train command goes on where it stopped",
        )
    return path
