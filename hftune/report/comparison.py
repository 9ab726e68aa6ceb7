"""Several finished runs side by side: one table and one picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from hftune.hub.card_table import table
from hftune.metrics import is_share
from hftune.report.curves import words
from hftune.report.finished import FinishedRun
from hftune.report.style import CYCLE, MARKERS, figure, save_with_svg
from hftune.units import format_duration

PICTURE = "comparison.png"


def comparison_table(runs: Sequence[FinishedRun]) -> str:
    """Give a Markdown table: a row per run, a column per metric of the last split judged.

    That split is the test split where every run has one, else validation.
    """
    head, *rows = comparison_rows(runs)
    return f"Split: {_common_split(runs)}\n\n{table(head, rows)}"


def comparison_rows(runs: Sequence[FinishedRun]) -> list[list[str]]:
    """Give the table's head and its rows, as `comparison_table` does."""
    split = _common_split(runs)
    names = list(dict.fromkeys(name for run in runs for name in _values(run, split)))
    head = ["run", *map(words, names), "images", "steps", "time", "images/s"]
    rows = []
    for run in runs:
        values = _values(run, split)
        result = run.results.of(split)
        cells = [f"{values[name]:.4f}" if name in values else "" for name in names]
        rows.append(
            [
                run.name,
                *cells,
                str(result.num_examples) if result is not None else "",
                str(run.results.steps),
                format_duration(run.results.seconds),
                f"{run.results.images_per_second:.1f}",
            ]
        )
    return [head, *rows]


def plot_comparison(runs: Sequence[FinishedRun], path: Path, *, metric: str | None = None) -> Path:
    """Draw validation loss and one metric of every run over its epochs, into a PNG file.

    `metric` is by default the one that picked the first run's weights. Raises DiskError.
    """
    name = metric or runs[0].results.best_metric
    split = _common_split(runs)
    with figure(9.5, 4.0) as drawing:
        left, right = drawing.subplots(1, 2)
        for axes, value in ((left, "loss"), (right, name)):
            _draw(axes, runs, value, split=split)
            axes.set_xlabel("Epoch")
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
            axes.legend(loc="best")
        left.set_title("Validation loss")
        right.set_title(f"Validation {words(name)}")
        if is_share(name):
            right.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
        return save_with_svg(drawing, path)


def _draw(axes: Axes, runs: Sequence[FinishedRun], name: str, *, split: str) -> None:
    """Draw one value over the epochs; the legend gives its final value on `split`."""
    for position, run in enumerate(runs):
        points = [point for point in run.history.evaluations.get("val", ()) if name in point.values]
        if not points:
            continue
        axes.plot(
            [point.epoch for point in points],
            [point.values[name] for point in points],
            color=CYCLE[position % len(CYCLE)],
            marker=MARKERS[position % len(MARKERS)],
            markersize=4,
            label=_label(run, name, split),
        )


def _label(run: FinishedRun, name: str, split: str) -> str:
    value = _values(run, split).get(name)
    if value is None:
        return run.name
    return f"{run.name}, {split} " + (f"{value:.1%}" if is_share(name) else f"{value:.4g}")


def _common_split(runs: Sequence[FinishedRun]) -> str:
    return "test" if all(run.results.of("test") is not None for run in runs) else "val"


def _values(run: FinishedRun, split: str) -> dict[str, float]:
    result = run.results.of(split)
    return dict(result.values) if result is not None else {}
