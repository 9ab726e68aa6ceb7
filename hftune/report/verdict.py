"""Arms judged on the same images: what each scored, and which of them can be told apart."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from hftune.core import ProblemName
from hftune.errors import DataError
from hftune.metrics import higher_is_better
from hftune.metrics.bootstrap import TIMES, Interval
from hftune.metrics.resampled import make_measure, right_answers
from hftune.report.paired import (
    McNemar,
    Needed,
    Resampled,
    holm,
    mcnemar,
    resample,
    sum_counts,
)
from hftune.train.predictions import Predictions
from hftune.train.run_facts import ResultsRecord

Verdict = Literal["first", "second", "open"]


@dataclass(frozen=True, kw_only=True)
class TwinRun:
    """One finished run of an arm: what it reported, and what it said about every image."""

    folder: Path
    results: ResultsRecord
    predictions: Predictions


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One arm over its seeds: the metric per seed, its mean's interval, its standard deviation.

    `others` are the further metrics that every run reported, per seed. `seconds` and
    `images_per_second` are means; `num_trainable` counts what trained at the most.
    """

    name: str
    values: tuple[float, ...]
    interval: Interval
    spread: float | None
    others: Mapping[str, tuple[float, ...]]
    num_trainable: int
    num_parameters: int
    steps: int
    seconds: float
    images_per_second: float


@dataclass(frozen=True, kw_only=True)
class Answered:
    """Which of two arms was right about which images: per seed, and added up over the seeds.

    `adjusted` are the p of each seed after Holm's correction over all pairs of arms.
    """

    seeds: tuple[McNemar, ...]
    summed: McNemar
    adjusted: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class PairResult:
    """Two arms: the first's metric less the second's, as means and per seed, and what follows.

    `verdict` says which is better, or that it is open; `answered` is None where answers are
    numbers, which are not right or wrong.
    """

    first: str
    second: str
    difference: Interval
    per_seed: tuple[float, ...]
    verdict: Verdict
    needed: Needed
    answered: Answered | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All arms and pairs. `undefined` is the share of resamples that left the metric undefined."""

    metric: str
    split: str
    num_images: int
    num_seeds: int
    resamples: int
    undefined: float
    arms: tuple[ArmResult, ...]
    pairs: tuple[PairResult, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON values."""
        return asdict(self)


def weigh(
    arms: Mapping[str, Sequence[TwinRun]],
    *,
    metric: str,
    problem: ProblemName,
    times: int = TIMES,
) -> Comparison:
    """Compare arms, each with its runs in the order of the seeds, by `metric` on the same images.

    Raises DataError where the metric is undefined on them.
    """
    runs = list(arms.values())
    said = runs[0][0].predictions
    num_images = len(said.targets)
    measures = [
        [make_measure(metric, *_answers(run), problem=problem) for run in row] for row in runs
    ]
    drawn = resample(measures, num_images=num_images, times=times)
    if not np.isfinite(drawn.values).all():
        raise DataError(
            f"{metric} is undefined on these images",
            found=f"{num_images} images of the {said.split} split",
            remedy="name another metric with --metric, or hold out more images",
        )
    return Comparison(
        metric=metric,
        split=said.split,
        num_images=num_images,
        num_seeds=len(runs[0]),
        resamples=times,
        undefined=float(np.isnan(drawn.draws).any(axis=(1, 2)).mean()),
        arms=tuple(
            _arm(name, row, drawn, position) for position, (name, row) in enumerate(arms.items())
        ),
        pairs=_pairs(arms, drawn, metric=metric, problem=problem),
    )


def _answers(run: TwinRun) -> tuple[Tensor, Tensor]:
    return run.predictions.logits, run.predictions.targets


def _arm(name: str, runs: Sequence[TwinRun], drawn: Resampled, position: int) -> ArmResult:
    values = drawn.values[position]
    results = [run.results for run in runs]
    judged = [run.results.of(run.predictions.split) for run in runs]
    reported = [dict(result.values) if result is not None else {} for result in judged]
    shared = [key for key in reported[0] if all(key in values for values in reported)]
    return ArmResult(
        name=name,
        values=tuple(values.tolist()),
        interval=drawn.arm(position),
        spread=float(values.std(ddof=1)) if len(values) > 1 else None,
        others={key: tuple(values[key] for values in reported) for key in shared},
        num_trainable=max((phase.num_trainable for phase in results[0].phases), default=0),
        num_parameters=results[0].num_parameters,
        steps=max(result.steps for result in results),
        seconds=sum(result.seconds for result in results) / len(results),
        images_per_second=sum(result.images_per_second for result in results) / len(results),
    )


def _pairs(
    arms: Mapping[str, Sequence[TwinRun]],
    drawn: Resampled,
    *,
    metric: str,
    problem: ProblemName,
) -> tuple[PairResult, ...]:
    names = list(arms)
    which = list(combinations(range(len(names)), 2))
    answered = _answered(list(arms.values()), which, problem=problem)
    results = []
    for position, (first, second) in enumerate(which):
        difference = drawn.difference(first, second)
        results.append(
            PairResult(
                first=names[first],
                second=names[second],
                difference=difference,
                per_seed=tuple((drawn.values[first] - drawn.values[second]).tolist()),
                verdict=_verdict(difference, higher=higher_is_better(metric)),
                needed=drawn.needed(first, second),
                answered=answered[position] if answered else None,
            )
        )
    return tuple(results)


def _answered(
    runs: Sequence[Sequence[TwinRun]], which: Sequence[tuple[int, int]], *, problem: ProblemName
) -> list[Answered]:
    """Count right answers for each pair of arms; empty where answers are numbers."""
    if problem == "regression":
        return []
    right = [[right_answers(*_answers(run), problem=problem) for run in row] for row in runs]
    counts = [
        [mcnemar(one, other) for one, other in zip(right[first], right[second], strict=True)]
        for first, second in which
    ]
    adjusted = [holm([row[seed].p for row in counts]) for seed in range(len(runs[0]))]
    return [
        Answered(
            seeds=tuple(row),
            summed=sum_counts(row),
            adjusted=tuple(values[position] for values in adjusted),
        )
        for position, row in enumerate(counts)
    ]


def _verdict(difference: Interval, *, higher: bool) -> Verdict:
    if difference.holds(0):
        return "open"
    return "first" if (difference.low > 0) == higher else "second"
