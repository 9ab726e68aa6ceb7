"""How far metrics are known: the interval that each has over other images of the same kind."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hftune.core import EvalResult, ProblemName
from hftune.metrics.bootstrap import TIMES, Interval, draw_images, percentile_interval
from hftune.metrics.ranked import AREAS
from hftune.quick_import import quick_import
from hftune.train.predictions import Predictions, read_predictions
from hftune.train.run_facts import ResultsRecord

# Images times classes up to which areas, which sort each class's scores, take seconds.
_MOST_SORTED = 1_000_000
_SEED = 0


# By split and metric.
Intervals = Mapping[tuple[str, str], Interval]


def intervals_of(run: Path, results: ResultsRecord, *, problem: ProblemName) -> Intervals:
    """Give the 95 % interval of each metric by split and name, from the predictions of `run`.

    Percentiles of 2000 bootstrap resamples of the images, always the same ones, drawn whatever
    their class (see `draw_images`); this is what `hftune compare` does with one run. Absent are
    splits without predictions, metrics that no resample moves (an interval without width would
    claim certainty), and areas over more images and classes than can be sorted in seconds.
    """
    found = {}
    for result in results.evaluations:
        said = read_predictions(run, result.split)
        if said is None:
            continue
        for name, interval in _of_split(result, said, problem).items():
            found[result.split, name] = interval
    return found


def _of_split(result: EvalResult, said: Predictions, problem: ProblemName) -> dict[str, Interval]:
    with quick_import():  # torchmetrics takes seconds, and no step needs it
        from hftune.metrics.resampled import make_measure

    num_images = len(said.targets)
    names = [name for name in result.values if name not in AREAS or _can_sort(said)]
    measures = [make_measure(name, said.logits, said.targets, problem=problem) for name in names]
    blocks = [
        np.stack([measure(counts) for measure in measures])
        for counts in draw_images(np.random.default_rng(_SEED), num_images, times=TIMES)
        if measures
    ]
    if not blocks:
        return {}
    draws = np.concatenate(blocks, axis=1)
    intervals = {
        name: percentile_interval(result.values[name], row)
        for name, row in zip(names, draws, strict=True)
        if not np.isnan(row).all()
    }
    return {name: one for name, one in intervals.items() if _has_width(one)}


def _can_sort(said: Predictions) -> bool:
    return said.logits.numel() <= _MOST_SORTED


def _has_width(interval: Interval) -> bool:
    return math.isfinite(interval.low) and interval.low < interval.high
