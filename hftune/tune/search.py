"""The search: ask for settings, train and judge them as a whole run, tell what came out, again."""

import gc
import logging
import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hftune.errors import MemoryShortError, MissingPackageError, PlanError, RequestError
from hftune.files import write_json
from hftune.finetune import prepare
from hftune.metrics import higher_is_better
from hftune.recipe import load_recipe
from hftune.recipe.schema import Recipe
from hftune.report.tuning import Axis, Searched, TrialResult, Tuning, trial_folder
from hftune.report.tuning_plot import plot_tuning
from hftune.train.plan import best_of, make_plan
from hftune.train.world import World, from_first, join_world, wait_for_all
from hftune.tune.best import BEST_FILE, write_best_recipe
from hftune.tune.check import check_space, values_to_try
from hftune.tune.method import Method, Trial, check_method, most_trials, shown_settings
from hftune.tune.record import (
    STUDY_FILE,
    StudyRecord,
    begin_folder,
    check_data,
    check_folder,
    digests,
)
from hftune.tune.space import Choice, Dimension, read_words
from hftune.tune.trial import (
    OF_THE_VALUES,
    OpenData,
    Searchable,
    own_values,
    reason_of,
    run_trial,
    values_of,
)

if TYPE_CHECKING:
    from hftune.tune.study import Study

logger = logging.getLogger(__name__)

NUMBERS = "tuning.json"
PICTURE = "tuning.png"
# A search whose first trials all fail has another fault than their values.
MOST_FAILURES = 5


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When a search ends: at this many finished trials in all, or no new one after `seconds`."""

    trials: int | None = None
    seconds: float | None = None


def tune(
    source: str,
    words: Sequence[str],
    output: Path | None = None,
    *,
    method: Method | None = None,
    budget: Budget | None = None,
) -> Tuning:
    """Search the settings that `words` give a range or a choice, around the recipe `source`.

    Every trial is a whole run in `output`, by default runs/NAME-tune, judged on validation by the
    metric that picks the best weights. A search that was stopped goes on; nothing is published.
    Called by every process that the launcher started; rank 0 writes. Raises RecipeError and
    RequestError before anything is trained; Stopped when a signal ended a trial.
    """
    method, budget = method or Method(), budget or Budget(trials=20)
    searchable = open_space(source, words)
    check_method(method, searchable.space)
    recipe = searchable.resolved.recipe
    output = output or Path("runs") / f"{recipe.run}-tune"
    record = _record(searchable, method)
    check_folder(output, recipe, record)
    world = join_world()
    data = OpenData()
    splits = data.of(recipe)
    check_data(output, splits)
    is_new = not (output / STUDY_FILE).is_file()
    if is_new:
        check_plans(searchable, data)
    wait_for_all()  # every rank has seen the same folder before it is written
    if is_new and world.is_first:
        begin_folder(output, replace(record, data=digests(splits)), recipe)
    opened = _open(output, searchable, method, record.metric) if world.is_first else nullcontext()
    with opened as study:
        search = _Search(searchable, output, record.metric, study=study, data=data)
        search.run(budget, method)
        found = None if study is None else search.tuning()
        if found is not None:
            plot_tuning(found, output / PICTURE)
        found = from_first(found)  # collective
    assert found is not None
    return found


def open_space(source: str, words: Sequence[str]) -> Searchable:
    """Read and check what is searched around which recipe. Raises RecipeError, RequestError."""
    asked = read_words(words)
    resolved, space = check_space(source, asked.overrides, asked.space)
    return Searchable(source=source, overrides=asked.overrides, space=space, resolved=resolved)


def check_plans(searchable: Searchable, data: OpenData) -> None:
    """Make the plan of the recipe, and with every end and choice that leaves model and data alone.

    Called by every rank. Raises what `prepare` raises, and RequestError with every value that
    cannot be carried out.
    """
    recipe = searchable.resolved.recipe
    prepared = prepare(recipe, splits=data.of(recipe))
    wrong = []
    for one in searchable.space:
        for value in values_to_try(one):
            tried = _with(searchable, one, value)
            if (tried.model, tried.data) != (recipe.model, recipe.data):
                continue
            try:
                make_plan(tried, prepared.model, prepared.splits, prepared.world)
            except PlanError as error:
                wrong.append(f"{one.setting}={value}: {reason_of(error)}")
    if wrong:
        raise RequestError(
            "some of the values cannot be trained with this recipe, data and model",
            found="\n".join(wrong),
            remedy="leave them out of the space, or change the recipe",
        )


class _Search:
    """The trials of one command. `study` is None on other ranks than 0."""

    def __init__(
        self,
        searchable: Searchable,
        output: Path,
        metric: str,
        *,
        study: "Study | None",
        data: OpenData,
    ) -> None:
        self.searchable = searchable
        self.output = output
        self.metric = metric
        self.study = study
        self.data = data
        self.world: World = join_world()
        self.started = time.monotonic()

    def run(self, budget: Budget, method: Method) -> None:
        """Run trials until the budget is used up (collective)."""
        first = None if method.sampler == "grid" else own_values(self.searchable)
        points = most_trials(method, self.searchable.space)
        if points is not None:
            budget = replace(budget, trials=min(points, budget.trials or points))
        while (trial := from_first(self._next(budget, first))) is not None:  # collective
            settings = shown_settings(self.searchable.space, trial.drawn)
            logger.info("trial %d: %s", trial.number, _listed(settings))
            result = self._result(trial)
            if self.study is not None:
                self.study.finish(result)
                self._write(result)
            gc.collect()  # the last trial's model goes before the next one's is built

    def tuning(self) -> Tuning:
        """Give the search as far as it came. Called by rank 0 only."""
        assert self.study is not None
        space = self.searchable.space
        return Tuning(
            name=self.searchable.resolved.recipe.run,
            folder=self.output,
            metric=self.metric,
            higher_is_better=higher_is_better(self.metric),
            searched=tuple(
                Searched(setting=one.setting, text=str(one), axis=_axis(one)) for one in space
            ),
            trials=self.study.results(),
            importance=self.study.importance(),
        )

    def _next(self, budget: Budget, first: dict[str, str | int | float] | None) -> Trial | None:
        """Give the next trial on rank 0; None on the others, and when the budget is used up."""
        if self.study is None:
            return None
        done = self.study.results()
        if len(done) >= MOST_FAILURES and all(trial.state == "failed" for trial in done):
            raise RequestError(
                f"the first {len(done)} trials all failed, so that there is nothing to go by",
                found="\n".join(f"trial {trial.number}: {trial.reason}" for trial in done),
                remedy="correct the recipe or the space, and search in another folder (--output)",
            )
        spent = time.monotonic() - self.started
        is_over = (budget.trials is not None and len(done) >= budget.trials) or (
            budget.seconds is not None and spent >= budget.seconds
        )
        return None if is_over else self.study.next_trial(first)

    def _result(self, trial: Trial) -> TrialResult:
        """Run a trial and say what came out (collective)."""
        settings = shown_settings(self.searchable.space, trial.drawn)
        run = self.output / trial_folder(trial.number)
        try:
            return self._judged(trial, run)
        except OF_THE_VALUES as error:
            failed = TrialResult(
                number=trial.number, state="failed", settings=settings, reason=reason_of(error)
            )
            if isinstance(error, MemoryShortError) and self.world.size > 1:
                # The other ranks may have had enough, and wait for this one.
                if self.study is not None:
                    self.study.finish(failed)
                raise
            return failed

    def _judged(self, trial: Trial, run: Path) -> TrialResult:
        name = f"{self.searchable.resolved.recipe.run}-{run.name}"
        resolved = self.searchable.resolve(trial.drawn, run=name)
        results = run_trial(
            resolved,
            run,
            splits=self.data.of(resolved.recipe),
            gives_up=lambda: from_first(self._is_hopeless(trial, run)),  # collective
        )
        value = results.best_value
        settings = shown_settings(self.searchable.space, trial.drawn)
        if value is None or not math.isfinite(value):
            reason = f"{self.metric} is not defined on the validation split"
            return TrialResult(
                number=trial.number, state="failed", settings=settings, reason=reason
            )
        is_pruned = results.ended_early and self._is_hopeless(trial, run)
        return TrialResult(
            number=trial.number,
            state="pruned" if is_pruned else "complete",
            settings=settings,
            value=value,
            values=values_of(run, self.metric),
            seconds=results.seconds,
        )

    def _is_hopeless(self, trial: Trial, run: Path) -> bool:
        """Say on rank 0 whether a trial is worth no further step, by its reports so far."""
        if self.study is None:
            return False
        return self.study.gives_up(trial.number, values_of(run, self.metric))

    def _write(self, result: TrialResult) -> None:
        """Write what is known after a trial. Called by rank 0 only."""
        found = self.tuning()
        write_json(self.output / NUMBERS, found.to_json())
        best = found.best
        logger.info("trial %d %s", result.number, _said(result, found))
        if best is None or best.number != result.number:
            return
        assert self.study is not None
        searchable, name = self.searchable, found.name
        drawn = self.study.drawn(best.number)
        write_best_recipe(
            self.output / BEST_FILE,
            searchable.resolve(drawn, run=f"{name}-tuned").recipe,
            source=searchable.source,
            overrides=searchable.overrides_of(drawn),
            title=f"Trial {best.number} of the search over {name}: {found.metric} "
            f"{best.value:.4f} on validation, the best of those trials.",
        )


def _open(
    folder: Path, searchable: Searchable, method: Method, metric: str
) -> AbstractContextManager["Study"]:
    """Open the study. Called by rank 0 only. Raises MissingPackageError without Optuna."""
    try:
        from hftune.tune.study import open_study  # Optional dependency: optuna.
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"searching settings needs the package '{error.name}', which is not installed",
            remedy="pip install 'hftune[tune]'",
        ) from None
    higher = higher_is_better(metric)
    return open_study(folder, searchable.space, method, higher_is_better=higher)


def _record(searchable: Searchable, method: Method) -> StudyRecord:
    return StudyRecord(
        metric=best_of(searchable.resolved.recipe),
        sampler=method.sampler,
        pruner=method.pruner,
        seed=method.seed,
        space={one.setting: str(one) for one in searchable.space},
        data={},
    )


def _with(searchable: Searchable, one: Dimension, value: str) -> Recipe:
    return load_recipe(searchable.source, (*searchable.overrides, f"{one.setting}={value}"))


def _axis(one: Dimension) -> Axis:
    if isinstance(one, Choice):
        return "choice"
    return "log" if one.is_log else "linear"


def _listed(settings: dict[str, str | int | float]) -> str:
    return "  ".join(f"{setting}={value}" for setting, value in settings.items())


def _said(result: TrialResult, found: Tuning) -> str:
    if result.value is None:
        return f"failed: {result.reason}"
    best = found.best
    beside = "" if best is None else f"; best: {best.value:.4f} of trial {best.number}"
    return f"{result.state}: {found.metric} {result.value:.4f}{beside}"
