"""A search as one picture: its value over the trials, and over each searched setting."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from hftune.metrics import is_better
from hftune.report.curves import words
from hftune.report.style import BLUE, GREY, ORANGE, figure, note, save
from hftune.report.tuning import Searched, TrialResult, Tuning

_COLUMNS = 3
_LOOKS = {"complete": ("o", BLUE), "pruned": ("x", GREY)}
_ROW_HEIGHT = 3.0
_LONGEST = 14  # letters of a choice under its axis


def plot_tuning(tuning: Tuning, path: Path) -> Path:
    """Draw the trials in their order and a slice per setting into a PNG file. Raises DiskError."""
    rows = 1 + math.ceil(len(tuning.searched) / _COLUMNS)
    columns = min(_COLUMNS, len(tuning.searched))
    with figure(max(7.0, 3.6 * columns), _ROW_HEIGHT * rows) as drawing:
        grid = drawing.add_gridspec(rows, columns)
        _draw_history(drawing.add_subplot(grid[0, :]), tuning)
        for position, searched in enumerate(tuning.searched):
            row, column = divmod(position, columns)
            axes = drawing.add_subplot(grid[1 + row, column])
            _draw_slice(axes, tuning, searched)
            if column == 0:
                axes.set_ylabel(words(tuning.metric).capitalize())
        return save(drawing, path)


def _draw_history(axes: Axes, tuning: Tuning) -> None:
    """Draw every trial that has a value, and the best so far as a line."""
    shown = [trial for trial in tuning.trials if trial.value is not None]
    _draw_trials(axes, tuning, [float(trial.number) for trial in shown], shown)
    numbers, bests = _best_so_far(tuning)
    axes.step(numbers, bests, where="post", color=ORANGE, linewidth=1.6, label="best so far")
    axes.set_title(f"{words(tuning.metric).capitalize()} on validation: {tuning.name}")
    counts = [f"{len(tuning.trials)} trials"]
    counts += [
        f"{tuning.count(state)} {state}" for state in ("pruned", "failed") if tuning.count(state)
    ]
    note(axes, ", ".join(counts))
    axes.set_xlabel("Trial")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_ylabel(words(tuning.metric).capitalize())
    axes.legend(loc="best", fontsize=9, frameon=True, edgecolor="none", framealpha=0.85)


def _draw_slice(axes: Axes, tuning: Tuning, searched: Searched) -> None:
    """Draw the trials' values over one setting."""
    shown = [trial for trial in tuning.trials if trial.value is not None]
    if searched.axis == "choice":
        texts = searched.choices
        places = [float(texts.index(str(trial.settings[searched.setting]))) for trial in shown]
        axes.set_xticks(range(len(texts)), [_short(text) for text in texts])
        axes.set_xlim(-0.5, len(texts) - 0.5)
    else:
        places = [float(trial.settings[searched.setting]) for trial in shown]
        axes.set_xscale(searched.axis)
        if searched.axis == "linear" and all(place.is_integer() for place in places):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _draw_trials(axes, tuning, places, shown)
    axes.set_xlabel(searched.setting)
    share = (tuning.importance or {}).get(searched.setting)
    if share is not None:
        note(axes, f"importance {share:.2f}")


def _draw_trials(
    axes: Axes, tuning: Tuning, places: Sequence[float], shown: Sequence[TrialResult]
) -> None:
    """Draw trials by how they ended, and a ring around the best."""
    values = [math.nan if trial.value is None else trial.value for trial in shown]
    for state, (marker, color) in _LOOKS.items():
        chosen = [row for row, trial in enumerate(shown) if trial.state == state]
        if chosen:
            axes.scatter(
                [places[row] for row in chosen],
                [values[row] for row in chosen],
                s=28,
                c=color,
                marker=marker,
                alpha=0.8,
                label=state,
            )
    for place, value, trial in zip(places, values, shown, strict=True):
        if trial == tuning.best:
            axes.plot(
                [place],
                [value],
                "o",
                markersize=11,
                markeredgewidth=1.8,
                fillstyle="none",
                color=ORANGE,
            )


def _best_so_far(tuning: Tuning) -> tuple[list[int], list[float]]:
    numbers: list[int] = []
    bests: list[float] = []
    for trial in tuning.trials:
        if trial.state == "complete" and trial.value is not None:
            is_new = not bests or is_better(trial.value, bests[-1], metric=tuning.metric)
            bests.append(trial.value if is_new else bests[-1])
            numbers.append(trial.number)
    return numbers, bests


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
