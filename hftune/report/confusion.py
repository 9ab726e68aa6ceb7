"""Which classes are taken for which: a confusion matrix, or the metrics of each class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from hftune.core import EvalResult
from hftune.errors import RunFolderError
from hftune.report.finished import FinishedRun
from hftune.report.style import BLUE, CYCLE, MARKERS, PALE, figure, note, save_with_svg

CONFUSION = "report/confusion.png"
PER_CLASS = "report/per_class.png"
# Up to this many classes each cell holds its numbers; above, the colour alone speaks.
_MOST_WRITTEN = 16
_MOST_TICKS = 40
_MOST_PAIRS = 12
_MOST_ROWS = 30
_LONGEST_NAME = 24
_LISTING_WIDTH = 4.4


def plot_confusion(run: FinishedRun) -> Path:
    """Draw `report/confusion.png` from the test split, or validation where there is none.

    Each row is a true class; colours are shares of its row. Large matrices also list the pairs
    most often confused. Raises RunFolderError without results or with several labels per image.
    """
    result = _final(run)
    if not result.confusion:
        raise RunFolderError(
            "with several labels per image there is no confusion matrix",
            where=str(run.folder),
            remedy="draw the metrics of each class instead: plot_per_class",
        )
    counts = np.asarray(result.confusion, dtype=np.int64)
    names = [shorten(name) for name in result.per_class]
    side = min(3.6 + 0.5 * len(names), 9.5)
    is_large = len(names) > _MOST_WRITTEN
    with figure(side + 1.8 + (_LISTING_WIDTH if is_large else 0.0), side) as drawing:
        if is_large:
            axes, listing = drawing.subplots(1, 2, width_ratios=(side + 1.8, _LISTING_WIDTH))
            _list_pairs(listing, counts, names)
        else:
            axes = drawing.subplots()
        _draw_matrix(drawing, axes, counts, names)
        axes.set_title(f"Confusion, {result.split} split")
        accuracy = np.trace(counts) / max(counts.sum(), 1)
        note(axes, f"{counts.sum():,} images, {accuracy:.1%} right")
        return save_with_svg(drawing, run.folder / CONFUSION)


def plot_per_class(run: FinishedRun) -> Path:
    """Draw `report/per_class.png`: each class's metrics as points on one line, weakest first.

    With many classes only the weakest are drawn. Raises RunFolderError without results.
    """
    result = _final(run)
    metrics = _class_metrics(result)
    drawn = weakest(result, metrics)
    with figure(8.0, 1.4 + 0.26 * len(drawn)) as drawing:
        axes = drawing.subplots()
        for place, name in enumerate(drawn):
            values = [result.per_class[name].get(metric, 0.0) for metric in metrics]
            axes.plot((min(values), max(values)), (place, place), color=PALE, linewidth=2, zorder=1)
        for metric, color, marker in zip(metrics, CYCLE, MARKERS, strict=False):
            values = [result.per_class[name].get(metric, 0.0) for name in drawn]
            axes.scatter(values, range(len(drawn)), s=34, color=color, marker=marker, label=metric)
        counts = [int(result.per_class[name].get("count", 0)) for name in drawn]
        rows = [f"{shorten(name)}  ({n:,})" for name, n in zip(drawn, counts, strict=True)]
        axes.set_yticks(range(len(drawn)), rows)
        axes.set_ylim(len(drawn) - 0.4, -0.6)
        axes.set_xlim(0, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
        axes.set_title(f"Per class (images), {result.split} split")
        if len(drawn) < len(result.per_class):
            note(axes, f"the {len(drawn)} weakest of {len(result.per_class)}")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return save_with_svg(drawing, run.folder / PER_CLASS)


def weakest(result: EvalResult, metrics: Sequence[str]) -> list[str]:
    """Name the classes to draw, by the mean of their metrics, lowest first."""

    def strength(name: str) -> float:
        row = result.per_class[name]
        return sum(row.get(metric, 0.0) for metric in metrics)

    return sorted(result.per_class, key=strength)[:_MOST_ROWS]


def shorten(name: str) -> str:
    """Cut a class name so that it fits beside an axis."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."


def worst_pairs(counts: np.ndarray, names: Sequence[str]) -> list[tuple[str, str, int, float]]:
    """Give (true, predicted, count, share of the true class), most frequent first."""
    totals = counts.sum(axis=1)
    pairs = [
        (names[i], names[j], int(counts[i, j]), float(counts[i, j] / totals[i]))
        for i, j in np.argwhere(counts > 0)
        if i != j
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:_MOST_PAIRS]


def _final(run: FinishedRun) -> EvalResult:
    if run.final is None:
        raise RunFolderError("this run has no evaluation", where=str(run.folder))
    return run.final


def _draw_matrix(drawing: Figure, axes: Axes, counts: np.ndarray, names: list[str]) -> None:
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    # Without numbers in the cells, rare confusions must still be seen: colour by the root.
    scale = PowerNorm(1.0 if len(names) <= _MOST_WRITTEN else 0.5, vmin=0, vmax=1)
    image = axes.imshow(shares, cmap="Blues", norm=scale, aspect="equal")
    every = max(1, -(-len(names) // _MOST_TICKS))
    ticks = range(0, len(names), every)
    axes.set_xticks(ticks, names[::every], rotation=0 if len(names) <= 3 else 45)
    if len(names) > 3:
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names[::every])
    axes.set(xlabel="Predicted", ylabel="True")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if len(names) <= _MOST_WRITTEN:
        _write_cells(axes, counts, shares)
    bar = drawing.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_ticks([0.01, 0.05, 0.1, 0.25, 0.5, 1.0] if scale.gamma < 1 else [0, 0.25, 0.5, 0.75, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    bar.set_label("Share of the true class")
    bar.outline.set_visible(False)


def _write_cells(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    size = 12 if len(counts) <= 4 else 9 if len(counts) <= 10 else 7
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        if count == 0:
            continue
        axes.text(
            column,
            row,
            f"{count:,}\n{share:.1%}" if len(counts) <= 10 else f"{count:,}\n{share:.0%}",
            ha="center",
            va="center",
            fontsize=size,
            color="white" if share > 0.55 else "black",
        )


def _list_pairs(axes: Axes, counts: np.ndarray, names: list[str]) -> None:
    """List the most frequent confusions as bars beside a matrix too large to write into."""
    pairs = worst_pairs(counts, names)
    axes.barh(range(len(pairs)), [pair[2] for pair in pairs], color=BLUE, height=0.3)
    for place, (true, predicted, count, share) in enumerate(pairs):
        text = f"{true} taken for {predicted}: {count:,} ({share:.0%})"
        axes.text(0, place - 0.2, text, fontsize=9, va="bottom")
    axes.set_yticks([])
    axes.set_ylim(_MOST_PAIRS - 0.5, -0.8)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_title("Most frequent confusions")
    axes.set_xlabel("Images")


def _class_metrics(result: EvalResult) -> list[str]:
    """Name the per-class shares; the count is none, and classes without examples lack some."""
    names = dict.fromkeys(name for row in result.per_class.values() for name in row)
    return [name for name in names if name != "count"]
