"""One trial: a whole run in a folder of its own, or the reason why there is none."""

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hftune.core import Splits
from hftune.data.sources import open_splits
from hftune.errors import (
    ComponentError,
    HftuneError,
    MemoryShortError,
    ModelError,
    NotFiniteError,
    PlanError,
    RecipeError,
)
from hftune.finetune import train_and_judge
from hftune.metrics import higher_is_better
from hftune.recipe import Resolved, load_recipe, resolve_recipe
from hftune.recipe.origins import leaves
from hftune.recipe.read import dotted
from hftune.recipe.schema import DataRecipe, MixRecipe, Recipe
from hftune.recipe.show import differences
from hftune.report.history import read_history
from hftune.train.checkpoint import CHECKPOINTS
from hftune.train.run_facts import RESULTS_FILE, ResultsRecord, read_results_record
from hftune.train.world import first_on_machine, from_first, join_world
from hftune.tune.space import Choice, Dimension, Space, Value

_LEADING_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")

# What the values of a trial may bring about; anything else would meet the next trial as well.
OF_THE_VALUES = (
    ComponentError,
    MemoryShortError,
    ModelError,
    NotFiniteError,
    PlanError,
    RecipeError,
)


@dataclass(frozen=True, kw_only=True)
class Searchable:
    """A recipe as it is searched: its source and fixed overrides, itself resolved, the space."""

    source: str
    overrides: tuple[str, ...]
    space: Space
    resolved: Resolved

    def overrides_of(self, drawn: Mapping[str, Value]) -> tuple[str, ...]:
        """Give the overrides that make the recipe of a trial."""
        own = [f"{one.setting}={_text(one, drawn[one.setting])}" for one in self.space]
        return (*self.overrides, *own)

    def resolve(self, drawn: Mapping[str, Value], *, run: str) -> Resolved:
        """Give the recipe of a trial under the name `run`.

        Raises RecipeError for values that do not go together.
        """
        resolved = resolve_recipe(self.source, self.overrides_of(drawn))
        return replace(resolved, recipe=replace(resolved.recipe, run=run))


class OpenData:
    """The training and validation splits, kept open while trials ask for the same data."""

    def __init__(self) -> None:
        self._asked: tuple[DataRecipe, str] | None = None
        self._splits: Splits | None = None

    def of(self, recipe: Recipe) -> Splits:
        """Give the splits of a recipe without the test split, which no trial sees (collective)."""
        asked = (_what_is_opened(recipe.data), recipe.problem)
        if self._splits is None or asked != self._asked:
            with first_on_machine():
                opened = open_splits(recipe.data, problem=recipe.problem)
            self._asked, self._splits = asked, replace(opened, test=None)
        return self._splits


def run_trial(
    resolved: Resolved, run: Path, *, splits: Splits, gives_up: Callable[[], bool]
) -> ResultsRecord:
    """Train and judge one trial, or go on with it; one that is finished is read.

    Nothing is published. Checkpoints are removed once it is finished; the run folder keeps the
    best weights. Called by every rank; rank 0 writes. Raises what `train_and_judge` raises.
    """
    is_finished = from_first((run / RESULTS_FILE).is_file())  # collective
    if not is_finished:
        train_and_judge(
            _unpublished(resolved.recipe),
            run,
            origins=resolved.origins,
            splits=splits,
            gives_up=gives_up,
        )
    if join_world().is_first:
        shutil.rmtree(run / CHECKPOINTS, ignore_errors=True)
    return read_results_record(run)


def values_of(run: Path, metric: str) -> tuple[float, ...]:
    """Give the metric on validation after each evaluation so far, its worst where undefined."""
    worst = float("-inf") if higher_is_better(metric) else float("inf")
    return tuple(
        point.values.get(metric, worst) for point in read_history(run).evaluations.get("val", ())
    )


def reason_of(error: HftuneError) -> str:
    """Give an error in one line, for the list of trials."""
    first = (error.found or "").partition("\n")[0]
    if isinstance(error, RecipeError):
        first = "; ".join(f"{problem.setting}: {problem.text}" for problem in error.problems)
    return f"{error.problem}: {first}" if first else error.problem


def own_values(searchable: Searchable) -> dict[str, Value] | None:
    """Give the values that make the recipe as it is; None where the space does not hold them."""
    values = dict(leaves(searchable.resolved.values))
    texts = {dotted(path): str(value) for path, value in values.items()}
    own: dict[str, Value] = {}
    for one in searchable.space:
        fitting = [value for value in _candidates(one, texts) if _is_own(searchable, one, value)]
        if not fitting:
            return None
        own[one.setting] = fitting[0]
    return own


def _candidates(one: Dimension, texts: Mapping[str, str]) -> tuple[Value, ...]:
    """Give the values of a dimension that may be the recipe's own."""
    if isinstance(one, Choice):
        return one.texts
    number = _LEADING_NUMBER.match(texts.get(one.setting, ""))
    if number is None or not one.low <= float(number[0]) <= one.high:
        return ()
    return (int(float(number[0])) if one.is_whole else float(number[0]),)


def _is_own(searchable: Searchable, one: Dimension, value: Value) -> bool:
    override = f"{one.setting}={_text(one, value)}"
    tried = load_recipe(searchable.source, (*searchable.overrides, override))
    return not differences(searchable.resolved.recipe, tried)


def _text(one: Dimension, value: Value) -> str:
    return str(value) if isinstance(one, Choice) else one.text(float(value))


def _unpublished(recipe: Recipe) -> Recipe:
    hub, save = replace(recipe.hub, push_to=None), replace(recipe.save, push_every=None)
    return replace(recipe, hub=hub, save=save)


def _what_is_opened(data: DataRecipe) -> DataRecipe:
    """Give the part of the data's settings that decides what is opened."""
    return replace(data, augment=(), mix=MixRecipe(), balance=0.0, class_weights=None, workers=None)
