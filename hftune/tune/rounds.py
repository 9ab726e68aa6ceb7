"""The trials of one command, one after the other: ask, train and judge, tell, write down."""

import gc
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hftune.errors import MemoryShortError, RequestError
from hftune.files import write_json
from hftune.metrics import higher_is_better
from hftune.report.tuning import Searched, TrialResult, Tuning, trial_folder
from hftune.train.run_facts import ResultsRecord
from hftune.train.world import World, from_first
from hftune.tune.best import BEST_FILE, write_best_recipe
from hftune.tune.method import Trial, shown_settings
from hftune.tune.space import Choice, Dimension, Value
from hftune.tune.trial import (
    OF_THE_VALUES,
    OpenData,
    Searchable,
    reason_of,
    run_trial,
    values_of,
)

if TYPE_CHECKING:
    from hftune.tune.study import Study  # needs Optuna

logger = logging.getLogger(__name__)

NUMBERS = "tuning.json"
# A search whose first trials all fail has another fault than their values.
MOST_FAILURES = 5


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When a search ends: at this many finished trials in all; no new one after `seconds`."""

    trials: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search while it runs. `study` is None on other ranks than 0; trials lie in `output`."""

    searchable: Searchable
    output: Path
    metric: str
    world: World
    study: "Study | None"
    data: OpenData

    def run(self, budget: Budget, first: Mapping[str, Value] | None) -> None:
        """Run trials until the budget is used up (collective).

        The very first trial of a study takes the values of `first`, where they are given.
        """
        started = time.monotonic()
        while True:
            spent = time.monotonic() - started
            trial = from_first(self._next(budget, first, spent=spent))  # collective
            if trial is None:
                return
            result = self._result(trial)
            if self.study is not None:
                self.study.finish(result)
                found = self.tuning()
                logger.info("trial %d %s", trial.number, _said(result, found))
                self.write(found)
            gc.collect()  # the last trial's model goes before the next one's is built

    def tuning(self) -> Tuning:
        """Give the search as far as it came. Called by rank 0 only."""
        assert self.study is not None
        return Tuning(
            name=self.searchable.resolved.recipe.run,
            folder=self.output,
            metric=self.metric,
            higher_is_better=higher_is_better(self.metric),
            searched=tuple(map(_searched, self.searchable.space)),
            trials=self.study.results(),
            importance=self.study.importance(),
        )

    def write(self, found: Tuning) -> None:
        """Write the numbers, and the best trial as a recipe. Called by rank 0 only."""
        write_json(self.output / NUMBERS, found.to_json())
        if found.best is None:
            return
        assert self.study is not None
        best, searchable = found.best, self.searchable
        drawn = self.study.drawn(best.number)
        write_best_recipe(
            self.output / BEST_FILE,
            searchable.resolve(drawn, run=f"{found.name}-tuned").recipe,
            source=searchable.source,
            overrides=searchable.overrides_of(drawn),
            title=f"Trial {best.number} of the search over {found.name}: {found.metric} "
            f"{best.value:.4f} on validation, the best of those trials.",
        )

    def _next(
        self, budget: Budget, first: Mapping[str, Value] | None, *, spent: float
    ) -> Trial | None:
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
        is_full = budget.trials is not None and len(done) >= budget.trials
        if is_full or (budget.seconds is not None and spent >= budget.seconds):
            return None
        return self.study.next_trial(first)

    def _result(self, trial: Trial) -> TrialResult:
        """Run a trial and say what came out (collective)."""
        settings = shown_settings(self.searchable.space, trial.drawn)
        shown = "  ".join(f"{setting}={value}" for setting, value in settings.items())
        logger.info("trial %d: %s", trial.number, shown)
        run = self.output / trial_folder(trial.number)
        failed = TrialResult(number=trial.number, state="failed", settings=settings)
        try:
            results = self._trained(trial, run)
        except OF_THE_VALUES as error:
            failed = replace(failed, reason=reason_of(error))
            if isinstance(error, MemoryShortError) and self.world.size > 1:
                # The other ranks may have had enough, and wait for this one.
                if self.study is not None:
                    self.study.finish(failed)
                raise
            return failed
        if results.best_value is None or not math.isfinite(results.best_value):
            return replace(failed, reason=f"{self.metric} is not defined on the validation split")
        is_pruned = results.ended_early and self._is_hopeless(trial, run)
        return TrialResult(
            number=trial.number,
            state="pruned" if is_pruned else "complete",
            settings=settings,
            value=results.best_value,
            values=values_of(run, self.metric),
            seconds=results.seconds,
        )

    def _trained(self, trial: Trial, run: Path) -> ResultsRecord:
        name = f"{self.searchable.resolved.recipe.run}-{run.name}"
        resolved = self.searchable.resolve(trial.drawn, run=name)
        return run_trial(
            resolved,
            run,
            splits=self.data.of(resolved.recipe),
            gives_up=lambda: from_first(self._is_hopeless(trial, run)),  # collective
        )

    def _is_hopeless(self, trial: Trial, run: Path) -> bool:
        """Say on rank 0 whether a trial is worth no further step, by its evaluations so far."""
        if self.study is None:
            return False
        return self.study.gives_up(trial.number, values_of(run, self.metric))


def _searched(one: Dimension) -> Searched:
    if isinstance(one, Choice):
        return Searched(setting=one.setting, text=str(one), axis="choice", choices=one.texts)
    return Searched(setting=one.setting, text=str(one), axis="log" if one.is_log else "linear")


def _said(result: TrialResult, found: Tuning) -> str:
    if result.value is None:
        return f"failed: {result.reason}"
    best = found.best
    beside = "" if best is None else f"; best: {best.value:.4f} of trial {best.number}"
    return f"{result.state}: {found.metric} {result.value:.4f}{beside}"
