"""A finished run as the report sees it: each of its files read once, at its first use."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hftune.core import EvalResult
from hftune.errors import RequestError
from hftune.recipe.schema import Recipe
from hftune.report.history import History, read_history
from hftune.train.average_record import SOUP_FILE
from hftune.train.calibration import Calibration, calibrate
from hftune.train.intervals import Intervals, intervals_of
from hftune.train.pins import pinned_recipe
from hftune.train.predictions import Predictions, read_predictions
from hftune.train.run_facts import (
    DataRecord,
    ModelRecord,
    ResultsRecord,
    read_data_record,
    read_model_record,
    read_results_record,
)


@dataclass(frozen=True)
class FinishedRun:
    """A run folder, what was trained, what came out, and its name beside others."""

    folder: Path
    model: ModelRecord
    results: ResultsRecord
    name: str

    @property
    def is_soup(self) -> bool:
        """Whether it was mixed from other runs, and so has no course of its own."""
        return (self.folder / SOUP_FILE).is_file()

    @property
    def final(self) -> EvalResult | None:
        """The evaluation of the test split, or of validation where there is none."""
        return self.results.of("test") or self.results.of("val")

    @property
    def final_said(self) -> Predictions | None:
        """What was said about the images of `final`."""
        return None if self.final is None else self.predictions.get(self.final.split)

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe, with the commits it took. Raises RecipeError."""
        return pinned_recipe(self.folder)

    @cached_property
    def data(self) -> DataRecord:
        """Where images came from, and the splits. Raises RunFolderError."""
        return read_data_record(self.folder)

    @cached_property
    def history(self) -> History:
        """What was reported while it trained. Raises RunFolderError."""
        return read_history(self.folder)

    @cached_property
    def predictions(self) -> dict[str, Predictions]:
        """What the best weights said, by split, as far as it was kept. Raises RunFolderError."""
        found = {name: read_predictions(self.folder, name) for name in ("val", "test")}
        return {name: said for name, said in found.items() if said is not None}

    @cached_property
    def intervals(self) -> Intervals:
        """The 95 % interval of each metric, by split and name, where one is known."""
        return intervals_of(self.folder, self.results, problem=self.model.problem)

    @cached_property
    def calibration(self) -> Calibration | None:
        """How often scores are right; None where no predictions were kept."""
        said = self.predictions
        return calibrate(self.model.problem, val=said.get("val"), test=said.get("test"))


def read_finished(folder: Path, *, name: str | None = None) -> FinishedRun:
    """Read a finished run; it has its folder's name unless another is given.

    Raises RunFolderError.
    """
    return FinishedRun(
        folder=folder,
        model=read_model_record(folder),
        results=read_results_record(folder),
        name=name or folder.resolve().name,
    )


def read_several(folders: Sequence[Path]) -> tuple[FinishedRun, ...]:
    """Read finished runs, named so that they can be told apart.

    Raises RunFolderError, and RequestError for the same run twice.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise RequestError("a run is named twice", found=", ".join(map(str, folders)))
    names = tell_apart(folders)
    return tuple(
        read_finished(folder, name=name) for folder, name in zip(folders, names, strict=True)
    )


def tell_apart(folders: Sequence[Path]) -> list[str]:
    """Give each folder its last part as a name, those that share it as many more as it takes."""
    parts = [folder.resolve().parts for folder in folders]
    lengths = [1] * len(parts)
    while True:
        names = ["/".join(part[-length:]) for part, length in zip(parts, lengths, strict=True)]
        same = {name for name, times in Counter(names).items() if times > 1}
        if not same:
            return names
        lengths = [length + (name in same) for length, name in zip(lengths, names, strict=True)]
