"""The picture of a run's learning rate at every depth over time, with what was frozen."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from hftune.report.finished import FinishedRun
from hftune.report.history import History
from hftune.report.style import GREY, GRID, figure, note, save_with_svg
from hftune.train.depth_rates import DepthRate, PhaseRates, read_phase_rates

PICTURE = "report/depth_rates.png"
# Columns of the picture; more would not be seen.
_MOST_COLUMNS = 400
# Colours reach down to this share of the highest rate; the ends of a schedule go below.
_LOWEST = 1e-3
# Runs shorter than this are drawn over steps, as in the learning curves.
_FEW_EPOCHS = 2
# The share of the width that the word 'frozen' needs.
_WORD = 0.09


@dataclass(frozen=True, kw_only=True)
class DepthChart:
    """Rates [rows, columns], NaN where frozen, between `edges` [columns + 1] in steps.

    `names` are those of the rows, the head first: depths next to each other that had the same
    rate at every step are one row.
    """

    names: tuple[str, ...]
    edges: NDArray[np.int64]
    rates: NDArray[np.float64]


def plot_depth_rates(run: FinishedRun) -> Path | None:
    """Draw `report/depth_rates.png`; None where the plan or the rates were not kept.

    Raises RunFolderError for a damaged plan, and DiskError.
    """
    phases = read_phase_rates(run.folder)
    if not phases or not any(point.values.get("lr", 0.0) > 0 for point in run.history.train):
        return None
    chart = depth_chart(phases, run.history)
    last = run.history.last
    unit = 1.0 if last.epoch < _FEW_EPOCHS else last.epoch / last.step
    with figure(9.5, 1.7 + 0.3 * len(chart.names)) as drawing:
        axes = drawing.subplots()
        _draw(axes, chart, unit)
        for phase in phases[1:]:
            axes.axvline(phase.start * unit, color=GREY, linewidth=1, linestyle=":")
        axes.set_title(f"Learning rate at every depth: {run.name}")
        if len(phases) > 1:
            note(axes, "dotted: other layers begin to train")
        axes.set_xlabel("Step" if unit == 1 else "Epoch")
        return save_with_svg(drawing, run.folder / PICTURE)


def depth_chart(phases: tuple[PhaseRates, ...], history: History) -> DepthChart:
    """Join what the plan says of depths with the peak rate that the run reported.

    A report at step s holds for the steps since the one before it, in its own phase; until the
    first report of a phase its predecessor's rate stands.
    """
    points = [point for point in history.train if "lr" in point.values]
    points = points[:: max(1, -(-len(points) // _MOST_COLUMNS))]
    stop = points[-1].step
    starts = [phase.start for phase in phases if phase.start < stop]
    edges = np.unique([0, *starts, *(point.step for point in points)])
    reported = np.array([point.step for point in points])
    peaks = np.array([point.values["lr"] for point in points])[
        np.searchsorted(reported, edges[1:], side="left")
    ]
    phase_of = np.searchsorted(starts, edges[:-1], side="right") - 1
    scales = np.array([[rate.scale or np.nan for rate in phase.depths] for phase in phases])
    rows = _rows(phases)
    rates = np.stack([scales[phase_of, row[0].depth] * peaks for row in rows])
    names = tuple(_name(row, of=len(scales[0])) for row in rows)
    return DepthChart(names=names, edges=edges, rates=rates)


def _rows(phases: tuple[PhaseRates, ...]) -> list[list[DepthRate]]:
    """Give the depths that go together, the deepest first."""

    def course(rate: DepthRate) -> tuple[float, ...]:
        return tuple(phase.depths[rate.depth].scale for phase in phases)

    rows = [list(together) for _, together in groupby(phases[-1].depths, key=course)]
    return rows[::-1]


def _name(row: list[DepthRate], *, of: int) -> str:
    """Name a row by its depths, and how many parameters they have."""
    first, last = row[0].depth, row[-1].depth
    depths = f"{first}" if first == last else f"{first} to {last}"
    head = " with the head" if last == of - 1 else ""
    return f"{depths}{head}  ({_short(sum(rate.parameters for rate in row))})"


def _short(count: int) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return str(count)


def _draw(axes: Axes, chart: DepthChart, unit: float) -> None:
    """Colour each row by its rate; what stands still is a bar of the grid's grey."""
    times = chart.edges * unit
    highest = float(np.nanmax(chart.rates))
    lowest = max(float(chart.rates[chart.rates > 0].min()), highest * _LOWEST)
    is_frozen = np.isnan(chart.rates)
    for row, frozen in enumerate(is_frozen):
        for stands, columns in groupby(range(len(frozen)), key=frozen.__getitem__):
            if stands:
                places = list(columns)
                _freeze(axes, row, float(times[places[0]]), float(times[places[-1] + 1]), times[-1])
    shown = axes.pcolormesh(
        times,
        np.arange(len(chart.rates) + 1) - 0.5,
        np.ma.masked_array(chart.rates.clip(min=lowest / 2), is_frozen),
        cmap="viridis",
        norm=LogNorm(min(lowest, highest / 2), highest),
        rasterized=True,  # thousands of rectangles would be most of the page
    )
    axes.set_yticks(range(len(chart.names)), chart.names)
    axes.set_ylim(len(chart.names) - 0.5, -0.5)
    axes.set_xlim(0, times[-1])
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_ylabel("Depth (parameters)")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    bar = axes.figure.colorbar(shown, ax=axes, pad=0.02, extend="min", label="Learning rate")
    bar.minorticks_off()
    bar.set_ticks([value for value in highest / 10.0 ** np.arange(4) if value >= lowest])
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))


def _freeze(axes: Axes, row: int, start: float, stop: float, end: float) -> None:
    axes.barh(row, stop - start, left=start, height=1.0, color=GRID, linewidth=0)
    if stop - start >= _WORD * end:
        axes.text((start + stop) / 2, row, "frozen", color=GREY, ha="center", va="center")
