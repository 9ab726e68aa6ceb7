"""The picture of a run's rates: one line per group, one band per phase."""

import math
from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hftune.core import Phase
from hftune.report.rate_chart import RateChart, RateLine
from hftune.report.style import CYCLE, GREY, figure, note, save

# Runs shorter than this are drawn over steps, as in the learning curves.
_FEW_EPOCHS = 2
_MOST_COLORS = len(CYCLE)
_MOST_LABELS = 14
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
# The lowest line's usual rate over the highest rate, below which a linear axis hides it.
_HIDDEN = 1 / 50
# On a logarithmic axis, how far it reaches below the smallest of the lines' usual rates.
_BELOW = 100
# One line of a phase's name, as a share of the axis.
_LINE_HEIGHT = 0.036


def plot_rates(chart: RateChart, path: Path) -> Path:
    """Draw the rate of every group over the run into a PNG file. Raises DiskError."""
    with figure(9.5, 4.8) as drawing:
        axes = drawing.add_subplot()
        _draw_bands(axes, chart)
        _draw_lines(axes, chart)
        axes.set_title(f"Learning rates: {chart.name}", pad=12)
        note(axes, chart.note)
        axes.set_ylabel("Learning rate")
        axes.set_xlabel("Step" if _is_short(chart) else "Epoch")
        axes.set_xlim(0, _time(chart.total_steps, chart))
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        _scale_rates(axes, chart)
        axes.legend(
            loc="center left", bbox_to_anchor=(1.0, 0.5), title=f"{chart.line_is}, peak rate"
        )
        return save(drawing, path)


def wants_logarithm(chart: RateChart) -> bool:
    """Say whether a linear axis would press the lowest line against the bottom."""
    return min(map(_usual, chart.lines)) < _HIDDEN * chart.lines[0].peak


def _scale_rates(axes: Axes, chart: RateChart) -> None:
    """Choose the axis, with room at the top for the names of the phases."""
    peak = chart.lines[0].peak
    room = 0.03 + _LINE_HEIGHT * max(band_label(phase).count("\n") + 1 for phase in chart.phases)
    if wants_logarithm(chart):
        bottom = min(map(_usual, chart.lines)) / _BELOW
        axes.set_yscale("log")
        axes.set_ylim(bottom, bottom * (peak / bottom) ** (1 / (1 - room)))
    else:
        axes.set_ylim(0, peak / (1 - room))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _usual(line: RateLine) -> float:
    """Give the median rate of a line while it trains."""
    return median(rate for rate in line.rates if not math.isnan(rate))


def _draw_lines(axes: Axes, chart: RateChart) -> None:
    times = [_time(step, chart) for step in (*chart.steps, chart.total_steps)]
    count = len(chart.lines)
    scale = mpl.colormaps["viridis"]
    labelled = _labelled(count)
    for position, line in enumerate(chart.lines):
        many = count > _MOST_COLORS
        axes.plot(
            times,
            [*line.rates, line.rates[-1]],
            drawstyle="steps-post",
            color=scale(0.9 * position / (count - 1)) if many else CYCLE[position],
            linestyle="-" if many else _DASHES[position],
            linewidth=1.3 if many else 1.8,
            label=f"{line.label}, {line.peak:.2g}" if position in labelled else None,
        )


def _labelled(count: int) -> set[int]:
    """Give the lines that the legend names: all, or evenly many with the first and the last."""
    if count <= _MOST_LABELS:
        return set(range(count))
    return {round(place * (count - 1) / (_MOST_LABELS - 1)) for place in range(_MOST_LABELS)}


def _draw_bands(axes: Axes, chart: RateChart) -> None:
    """Shade every second phase and name each at the top; a narrow one upright."""
    for position, phase in enumerate(chart.phases):
        left, right = _time(phase.start, chart), _time(phase.stop, chart)
        if position % 2:
            axes.axvspan(left, right, color="#EFEFEF", zorder=0)
        text = band_label(phase)
        widest = max(map(len, text.splitlines()))
        is_narrow = (phase.stop - phase.start) / chart.total_steps < 0.011 * widest
        axes.annotate(
            text,
            (left, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4, -4),
            textcoords="offset points",
            rotation=90 if is_narrow else 0,
            ha="left",
            va="top",
            fontsize=8,
            color=GREY,
        )


def band_label(phase: Phase) -> str:
    """Give what a phase trains, and what it does to the rates."""
    lines = [phase.label if len(phase.label) <= 40 else phase.label[:37] + "..."]
    if phase.lr_factor != 1:
        lines.append(f"rates x {phase.lr_factor:g}")
    if phase.warmup_steps:
        lines.append(f"warm-up of {phase.warmup_steps} steps")
    return "\n".join(lines)


def _time(step: int, chart: RateChart) -> float:
    return float(step) if _is_short(chart) else step / chart.steps_per_epoch


def _is_short(chart: RateChart) -> bool:
    return chart.total_steps < _FEW_EPOCHS * chart.steps_per_epoch
