"""The picture of a range test: the loss over the rate, with what it suggests."""

import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from hftune.optim.rate_range import DIVERGED, RateCurve, Suggestion
from hftune.report.style import BLUE, GREEN, GREY, ORANGE, figure, note, save

# Losses above this multiple of the first smoothed one are cut off at the top.
_TOP = 1.6


def plot_range_test(curve: RateCurve, suggestion: Suggestion, path: Path, *, name: str) -> Path:
    """Draw the loss of every step over its rate into a PNG file. Raises DiskError."""
    with figure(8.0, 4.6) as drawing:
        axes = drawing.add_subplot()
        axes.plot(curve.rates, curve.losses, color=BLUE, alpha=0.25, linewidth=1, label="loss")
        axes.plot(curve.rates, curve.smooth, color=BLUE, linewidth=1.8, label="loss, smoothed")
        axes.set_xscale("log")
        axes.set_xlim(curve.range.lowest, curve.range.highest)
        _scale_losses(axes, curve)
        _mark(axes, suggestion)
        axes.set_title(f"Range test: {name}", pad=12)
        ends = f"; the loss diverged at {curve.rates[-1]:.1e}" if curve.ends_early else ""
        note(axes, f"{len(curve.rates)} of {curve.range.steps} steps{ends}")
        axes.set_xlabel("Peak learning rate")
        axes.set_ylabel("Training loss")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        drawing.legend(loc="outside lower center", ncols=2, fontsize=9)
        return save(drawing, path)


def _scale_losses(axes: Axes, curve: RateCurve) -> None:
    """Show what fell; a loss that diverged would press it against the bottom."""
    lowest, first = min(curve.smooth), max(curve.smooth[: max(1, len(curve.smooth) // 4)])
    top = min(max(curve.losses), max(_TOP * first, DIVERGED / 2 * lowest))
    room = max(0.06 * (top - lowest), 0.01 * abs(top), 1e-6)  # a level curve has a height too
    axes.set_ylim(min(curve.losses) - room, top + 2 * room)


def _mark(axes: Axes, suggestion: Suggestion) -> None:
    """Draw a line at each rate that the curve names, or say why it names none."""
    if suggestion.reason is not None:
        text = textwrap.fill(f"No suggestion: {suggestion.reason}.", width=44)
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85}
        axes.text(
            *(0.985, 0.03, text),
            transform=axes.transAxes,
            ha="right",
            va="bottom",
            fontsize=9,
            color=GREY,
            bbox=box,
        )
        return
    named = (
        (suggestion.steepest, ORANGE, "--", "steepest fall"),
        (suggestion.bound, GREEN, ":", "a tenth of the rate at the lowest loss"),
    )
    for rate, color, dash, words in named:
        if rate is not None:
            word = f"{words}: {rate:.1e}"
            if rate == suggestion.rate:
                word += " (suggested)"
            axes.axvline(rate, color=color, linestyle=dash, linewidth=1.6, label=word)
