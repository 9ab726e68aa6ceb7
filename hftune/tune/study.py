"""The trials of a search in Optuna's own journal: what to try next, and what came of it.

The journal lies in the study's folder and can be opened with Optuna's tools. What a trial is given
is a function of (seed, trial number, finished trials), so a study that was killed and goes on asks
for what it would have asked for. Only rank 0 has a study.
"""

import fcntl
import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import MedianPruner
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from hftune.errors import RequestError
from hftune.files import disk_errors
from hftune.report.tuning import State, TrialResult
from hftune.tune.method import Method, Trial, grid_of, shown_settings
from hftune.tune.space import Choice, Dimension, Space, Value

JOURNAL = "journal.log"
LOCK = "study.lock"

# Trials that must be complete before settings are ranked by importance, or a trial is pruned.
_BEFORE_RANKING = 10
_BEFORE_PRUNING = 5

_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


class Study:
    """The trials of one search on disk. Made by `open_study`, which keeps others out."""

    def __init__(
        self, folder: Path, space: Space, method: Method, *, higher_is_better: bool
    ) -> None:
        self._space = space
        self._method = method
        directions = optuna.study.StudyDirection
        self._direction = directions.MAXIMIZE if higher_is_better else directions.MINIMIZE
        journal = folder / JOURNAL
        _heal(journal)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))),
            study_name=folder.name,
            direction=self._direction,
            sampler=RandomSampler(seed=0),  # never asked
            load_if_exists=True,
        )

    def next_trial(self, first: Mapping[str, Value] | None = None) -> Trial:
        """Give the trial that was begun and not finished, or begin a new one.

        The study's very first trial takes the values of `first`, where they are given.
        """
        running = self._all(TrialState.RUNNING)
        if running:
            return Trial(number=running[0].number, drawn=running[0].params)
        number = len(self._all())
        drawn = self._draw(number, first if number == 0 else None)
        self._study.add_trial(drawn)  # one line of the journal: there as a whole, or not at all
        return Trial(number=number, drawn=drawn.params)

    def finish(self, result: TrialResult) -> None:
        """Note what came of a trial; doing it again after a kill changes nothing."""
        stored = self._stored(result.number)
        trial = optuna.trial.Trial(self._study, stored._trial_id)
        for number, value in enumerate(result.values, start=1):
            if number not in stored.intermediate_values:
                trial.report(value, number)
        trial.set_user_attr("seconds", result.seconds)
        if result.reason is not None:
            trial.set_user_attr("reason", result.reason)
        if result.state == "complete":
            self._study.tell(result.number, result.value)
        else:
            state = TrialState.PRUNED if result.state == "pruned" else TrialState.FAIL
            self._study.tell(result.number, state=state)

    def gives_up(self, number: int, values: Sequence[float]) -> bool:
        """Say whether a trial with these values after its evaluations is not worth going on with.

        Depends on these values and on finished trials alone, so that a trial which was killed and
        repeats an evaluation is told the same again.
        """
        if self._method.pruner == "none":
            return False
        trial = self._stored(number)
        trial.intermediate_values = dict(enumerate(values, start=1))
        pruner = MedianPruner(n_startup_trials=_BEFORE_PRUNING)
        return bool(pruner.prune(self._study, trial))  # NumPy's own is no JSON value

    def drawn(self, number: int) -> Mapping[str, Value]:
        """Give what a trial was given."""
        return self._stored(number).params

    def results(self) -> tuple[TrialResult, ...]:
        """Give every finished trial, in the order of their numbers."""
        return tuple(self._result(trial) for trial in self._all(*_STATES))

    def importance(self) -> dict[str, float] | None:
        """Give each setting's share in what made trials good; None after too few trials.

        PED-ANOVA (Watanabe et al. 2023), as Optuna has it; the shares add up to 1.
        """
        if len(self._all(TrialState.COMPLETE)) < _BEFORE_RANKING or len(self._space) < 2:
            return None
        shares = optuna.importance.get_param_importances(self._study)
        return None if any(math.isnan(share) for share in shares.values()) else dict(shares)

    def _draw(self, number: int, fixed: Mapping[str, Value] | None) -> FrozenTrial:
        """Draw in memory, from the finished trials, with a seed of this trial's own."""
        study = optuna.create_study(direction=self._direction, sampler=self._sampler(number))
        study.add_trials(self._all())
        if fixed is not None:
            study.enqueue_trial(dict(fixed))
        study.ask({dimension.setting: _distribution(dimension) for dimension in self._space})
        drawn = study.get_trials()[-1]
        return optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=drawn.params,
            distributions=drawn.distributions,
            system_attrs=drawn.system_attrs,
        )

    def _sampler(self, number: int) -> BaseSampler:
        method = self._method
        if method.sampler == "grid":  # its order is one shuffle for the whole study
            return GridSampler(grid_of(self._space), seed=method.seed)
        digest = hashlib.blake2b(f"{method.seed} {number}".encode(), digest_size=4).digest()
        seed = int.from_bytes(digest)
        return TPESampler(seed=seed) if method.sampler == "tpe" else RandomSampler(seed=seed)

    def _result(self, trial: FrozenTrial) -> TrialResult:
        state = _STATES[trial.state]
        values = tuple(value for _, value in sorted(trial.intermediate_values.items()))
        best = max if self._direction == optuna.study.StudyDirection.MAXIMIZE else min
        return TrialResult(
            number=trial.number,
            state=state,
            settings=shown_settings(self._space, trial.params),
            value=None if state == "failed" else best(values),
            values=values,
            seconds=trial.user_attrs["seconds"],
            reason=trial.user_attrs.get("reason"),
        )

    def _stored(self, number: int) -> FrozenTrial:
        return self._study.get_trials()[number]

    def _all(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)


@contextmanager
def open_study(
    folder: Path, space: Space, method: Method, *, higher_is_better: bool
) -> Iterator[Study]:
    """Open the study in `folder`, or begin one, and keep other processes out while it is open.

    Raises RequestError where another process has it open.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / LOCK).open("a")
    with stream as lock:
        try:
            # A lock of the process, which a kill releases and loader workers do not inherit.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RequestError(
                "another process is at work on this study",
                where=str(folder),
                remedy="wait for it, or search in another folder with --output",
            ) from error
        yield Study(folder, space, method, higher_is_better=higher_is_better)


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.texts)
    if dimension.is_whole:
        low, high = int(dimension.low), int(dimension.high)
        return IntDistribution(low, high, log=dimension.is_log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.is_log)


def _heal(journal: Path) -> None:
    """Drop what a kill left: a last line that is cut short, and the journal's own lock."""
    if journal.is_file():
        content = journal.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(journal, len(whole))
    for left in journal.parent.glob(f"{journal.name}.lock*"):
        left.unlink()
