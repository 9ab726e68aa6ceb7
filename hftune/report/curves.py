"""The learning curves of a run: loss, validation metrics, learning rate and speed over time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hftune.metrics import LOSS, higher_is_better, is_share
from hftune.report.history import History, Point
from hftune.report.style import BLUE, CYCLE, GREY, MARKERS, ORANGE, figure, note, save_with_svg
from hftune.train.run_facts import ResultsRecord

CURVES = "report/learning_curves.png"
_MOST_METRICS = 4
_FEW_POINTS = 24
# Runs shorter than this are drawn over steps: their epochs are fractions.
_FEW_EPOCHS = 2
# Over data, where there is no room beside it, a legend stays readable.
_LEGEND: dict[str, Any] = {"frameon": True, "edgecolor": "none", "framealpha": 0.85}


def plot_learning_curves(run: Path, history: History, results: ResultsRecord | None) -> Path:
    """Draw `report/learning_curves.png` in the run folder; a run that goes on has no results yet.

    Raises DiskError.
    """
    with figure(9.5, 5.6) as drawing:
        drawing.suptitle(f"Learning curves: {run.resolve().name}", x=0.01, ha="left", weight="bold")
        grid = drawing.add_gridspec(2, 2, height_ratios=(3, 1))
        loss = drawing.add_subplot(grid[0, 0])
        metrics = drawing.add_subplot(grid[0, 1], sharex=loss)
        rate = drawing.add_subplot(grid[1, 0], sharex=loss)
        speed = drawing.add_subplot(grid[1, 1], sharex=loss)
        _draw_loss(loss, history)
        _draw_metrics(metrics, history, results)
        _draw_line(rate, history, "lr", title="Learning rate")
        _draw_line(speed, history, "images_per_second", title="Images per second")
        panels = (loss, metrics, rate, speed)
        _scale_time(panels, history)
        if results is not None:
            _mark(drawing, panels, history, results)
        return save_with_svg(drawing, run / CURVES)


def _draw_loss(axes: Axes, history: History) -> None:
    times, losses = _series(history.train, "loss", history)
    if len(losses) > _FEW_POINTS:
        axes.plot(times, losses, color=BLUE, alpha=0.25, linewidth=1)
        axes.plot(times, _smooth(losses), color=BLUE, linewidth=1.8, label="train, smoothed")
    elif losses:
        axes.plot(times, losses, color=BLUE, linewidth=1.8, label="train")
    times, losses = _series(history.evaluations.get("val", ()), "loss", history)
    if losses:
        axes.plot(times, losses, color=ORANGE, marker="o", markersize=4, label="validation")
    axes.set_title("Loss")
    axes.set_ylim(bottom=0)
    axes.legend(loc="best", **_LEGEND)


def _draw_metrics(axes: Axes, history: History, results: ResultsRecord | None) -> None:
    axes.set_title("Validation")
    points = history.evaluations.get("val", ())
    first = results.best_metric if results is not None else None
    names = metric_names(points, first=first)
    for name, color, marker in zip(names, CYCLE, MARKERS, strict=False):
        times, values = _series(points, name, history)
        axes.plot(times, values, color=color, marker=marker, markersize=4, label=words(name))
    if not names:
        axes.text(0.5, 0.5, "no evaluation yet", transform=axes.transAxes, ha="center", color=GREY)
        return
    if all(is_share(name) for name in names):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    axes.legend(loc="best", **_LEGEND)
    if results is not None and (test := results.of("test")) is not None:
        value = test.values.get(results.best_metric)
        if value is not None:
            note(
                axes,
                f"test: {words(results.best_metric)} {value:.4f}, {test.num_examples:,} images",
            )


def _draw_line(axes: Axes, history: History, name: str, *, title: str) -> None:
    times, values = _series(history.train, name, history)
    axes.plot(times, values, color=GREY, linewidth=1.5)
    axes.set_title(title)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _scale_time(panels: tuple[Axes, ...], history: History) -> None:
    """Show the time below the panels, in the unit of `_series`."""
    panels[0].set_xlim(0, 1.02 * _time(history.last, history))
    panels[0].xaxis.set_major_locator(MaxNLocator(8, integer=True))
    for axes in panels[:2]:
        axes.tick_params(labelbottom=False)
    for axes in panels[2:]:
        axes.set_xlabel("Step" if _is_short(history) else "Epoch")


def _mark(
    drawing: Figure, panels: tuple[Axes, ...], history: History, results: ResultsRecord
) -> None:
    """Mark the best weights and the changes of phase in all panels."""
    last = history.last
    per_step = _time(last, history) / last.step
    for axes in panels:
        for phase in results.phases[1:]:
            axes.axvline(phase.start * per_step, color=GREY, linewidth=1, linestyle=":")
        axes.axvline(results.best_step * per_step, color=GREY, linewidth=1, linestyle="--")
    marks = f"dashed: best weights, step {results.best_step} of {results.steps}"
    if len(results.phases) > 1:
        marks += "; dotted: other layers begin to train"
    drawing.text(0.99, 0.985, marks, ha="right", va="top", color=GREY, fontsize=9)


def metric_names(points: Sequence[Point], *, first: str | None) -> list[str]:
    """Name the metrics to draw: `first`, then the others in their order, a handful at most.

    Only those that are better in the direction of the first: errors of a number are in its unit,
    and correlations are not.
    """
    names = list(dict.fromkeys(name for point in points for name in point.values))
    names = [name for name in names if name != LOSS]
    if first in names:
        names = [str(first), *(name for name in names if name != first)]
    alike = [name for name in names if higher_is_better(name) == higher_is_better(names[0])]
    return alike[:_MOST_METRICS]


def words(name: str) -> str:
    """Give a metric's name as it reads in a sentence."""
    return name.replace("_", " ")


def _series(
    points: Sequence[Point], name: str, history: History
) -> tuple[list[float], list[float]]:
    """Give times and values of the points that have a value of this name."""
    found = [point for point in points if name in point.values]
    return [_time(point, history) for point in found], [point.values[name] for point in found]


def _time(point: Point, history: History) -> float:
    """Give a point's place on the time axis, in epochs, or in steps of a short run."""
    return float(point.step) if _is_short(history) else point.epoch


def _is_short(history: History) -> bool:
    return history.last.epoch < _FEW_EPOCHS


def _smooth(values: Sequence[float]) -> list[float]:
    """Give the mean of each value's neighbourhood; centred, so that it does not lag behind."""
    half = max(2, len(values) // 30)
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]
