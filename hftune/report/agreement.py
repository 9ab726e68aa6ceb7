"""How predicted numbers lie against the true ones: one point per image, or shades where many."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from hftune.core import EvalResult
from hftune.errors import RunFolderError
from hftune.report.finished import FinishedRun
from hftune.report.style import BLUE, GREY, ORANGE, figure, note, save_with_svg

AGREEMENT = "report/agreement.png"
# Above this many images points would hide each other: hexagons are shaded by their number.
_MOST_POINTS = 3000
# Up to this many distinct targets, each is a column of its own.
_FEW_TARGETS = 12
_CELLS = 40
_SHOWN = (("mae", "MAE"), ("r2", "R2"))

Numbers = NDArray[np.float64]


def plot_agreement(run: FinishedRun) -> Path:
    """Draw `report/agreement.png` from the test split, or validation where there is none.

    True numbers lie below, predicted ones at the left; on the diagonal they are equal. Where the
    targets are few, each has its points spread beside each other and the mean of its predictions.
    Raises RunFolderError without predictions, or where the run is not of regression.
    """
    if run.model.problem != "regression":
        raise RunFolderError(
            "predicted and true numbers are drawn of regression only",
            found=run.model.problem,
            where=str(run.folder),
        )
    result, kept = run.final, run.final_said
    if result is None or kept is None:
        raise RunFolderError("this run has kept no predictions", where=str(run.folder))
    true = kept.targets.double().numpy()[:, 0]
    predicted = kept.logits.double().numpy()[:, 0]
    name = run.model.label_names[0]
    with figure(6.8 if len(true) > _MOST_POINTS else 5.6, 5.2) as drawing:
        axes = drawing.subplots()
        limits = _limits(true, predicted)
        axes.set(xlim=limits, ylim=limits)
        _draw_points(axes, true, predicted)
        axes.plot(limits, limits, color=GREY, linewidth=1, linestyle="--", label="equal", zorder=2)
        axes.set(xlabel=f"True {name}", ylabel=f"Predicted {name}")
        axes.set_title(f"Agreement, {result.split} split")
        note(axes, ", ".join([f"{len(true):,} images", *_values(result)]))
        axes.legend(loc="upper left")
        return save_with_svg(drawing, run.folder / AGREEMENT)


def _values(result: EvalResult) -> list[str]:
    """Give what is written above the picture."""
    values = result.values
    return [f"{label} {values[name]:.3g}" for name, label in _SHOWN if name in values]


def _draw_points(axes: Axes, true: Numbers, predicted: Numbers) -> None:
    values = np.unique(true)
    if len(values) <= _FEW_TARGETS:
        _draw_columns(axes, true, predicted, values)
    elif len(true) <= _MOST_POINTS:
        axes.scatter(true, predicted, s=12, color=BLUE, alpha=0.5, linewidths=0, label="an image")
    else:
        shades = LinearSegmentedColormap.from_list("blues", ["#E8F1F8", BLUE])
        cells = axes.hexbin(true, predicted, gridsize=_CELLS, mincnt=1, cmap=shades, linewidths=0)
        axes.figure.colorbar(cells, ax=axes, label="Images")


def _draw_columns(axes: Axes, true: Numbers, predicted: Numbers, values: Numbers) -> None:
    """Draw the points of each target beside each other, in the rows' order, and their mean."""
    width = 0.7 * float(np.diff(values).min()) if len(values) > 1 else 1.0
    places = true.copy()
    for value in values:
        rows = np.flatnonzero(true == value)
        # Steps of the golden ratio spread any number of points evenly, without a draw.
        places[rows] += width * ((np.arange(len(rows)) * 0.618034) % 1 - 0.5)
    axes.scatter(places, predicted, s=10, color=BLUE, alpha=0.4, linewidths=0, label="an image")
    means = [float(predicted[true == value].mean()) for value in values]
    axes.scatter(
        values, means, s=70, marker="D", color=ORANGE, edgecolors="white", label="mean", zorder=3
    )
    axes.set_xticks(values, [f"{value:.3g}" for value in values])
    axes.set_xlim(values[0] - width, values[-1] + width)


def _limits(true: Numbers, predicted: Numbers) -> tuple[float, float]:
    """Give the ends of both axes: the whole diagonal lies within them."""
    low = float(min(true.min(), predicted.min()))
    high = float(max(true.max(), predicted.max()))
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin
