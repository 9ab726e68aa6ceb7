"""A comparison as one picture: each arm with its interval and seeds, and how it learned."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from hftune.metrics import LOSS
from hftune.report.curves import words
from hftune.report.history import History
from hftune.report.style import CYCLE, GREY, MARKERS, figure, note, save
from hftune.report.verdict import Comparison

# How far below its arm's line the seeds of an arm are drawn, in rows.
_BELOW = 0.24


def plot_twins(
    comparison: Comparison, histories: Mapping[str, Sequence[History]], path: Path
) -> Path:
    """Draw every arm's value with interval and seeds, and its validation curves, into a PNG file.

    `histories` holds each arm's runs by its name. Raises DiskError.
    """
    height = max(3.6, 1.6 + 0.55 * len(comparison.arms))
    with figure(11.0, height) as drawing:
        left, right = drawing.subplots(1, 2, width_ratios=(1.1, 1))
        _draw_arms(left, comparison)
        _draw_curves(right, comparison, histories)
        return save(drawing, path)


def _draw_arms(axes: Axes, comparison: Comparison) -> None:
    """Draw a row per arm, the first on top."""
    arms = comparison.arms
    for row, arm in enumerate(arms):
        color, marker = _look(row)
        interval = arm.interval
        axes.plot([interval.low, interval.high], [row, row], color=color, linewidth=2.4, alpha=0.6)
        axes.plot([interval.value], [row], color=color, marker=marker, markersize=8)
        axes.annotate(
            f"{interval.value:.4f}",
            (interval.value, row),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=color,
        )
        if len(arm.values) > 1:
            below = np.full(len(arm.values), row + _BELOW)
            axes.plot(arm.values, below, ".", color=color, markersize=6, alpha=0.8)
    axes.set_yticks(range(len(arms)), [arm.name for arm in arms])
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_title(f"{words(comparison.metric).capitalize()}, {comparison.split} split")
    seeds = f", dots: {comparison.num_seeds} seeds" if comparison.num_seeds > 1 else ""
    axes.set_xlabel(f"{comparison.num_images:,} images; bars: 95 % intervals{seeds}", color=GREY)


def _draw_curves(
    axes: Axes, comparison: Comparison, histories: Mapping[str, Sequence[History]]
) -> None:
    """Draw the validation split over the epochs: each seed thin, their mean thick.

    Draws the loss where the metric was not reported while training.
    """
    runs = [history for row in histories.values() for history in row]
    name = comparison.metric
    if not any(_curve(history, name)[0] for history in runs):
        name = LOSS
    for row, arm in enumerate(comparison.arms):
        color, marker = _look(row)
        curves = [_curve(history, name) for history in histories[arm.name]]
        for times, values in curves:
            axes.plot(times, values, color=color, linewidth=0.9, alpha=0.35)
        mean = _mean_curve(curves)
        axes.plot(*mean, color=color, marker=marker, markersize=4, linewidth=1.8, label=arm.name)
    axes.set_title(f"{words(name).capitalize()}, validation split")
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.legend(loc="best", fontsize=9, frameon=True, edgecolor="none", framealpha=0.85)
    if comparison.num_seeds > 1:
        note(axes, "thin: one seed, thick: their mean")


def _curve(history: History, metric: str) -> tuple[list[float], list[float]]:
    points = [point for point in history.evaluations.get("val", ()) if metric in point.values]
    return [point.epoch for point in points], [point.values[metric] for point in points]


def _mean_curve(
    curves: Sequence[tuple[list[float], list[float]]],
) -> tuple[list[float], list[float]]:
    """Give the mean at the times that every run reached."""
    shortest = min((times for times, _ in curves), key=len)
    values = zip(*(values for _, values in curves), strict=False)
    return shortest, [sum(row) / len(row) for row in values]


def _look(row: int) -> tuple[str, str]:
    """Give the colour and marker of an arm; no two of the first 25 share both."""
    return CYCLE[row % len(CYCLE)], MARKERS[(row + row // len(CYCLE)) % len(MARKERS)]
