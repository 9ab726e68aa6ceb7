"""Several finished runs side by side: one table and one picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from hftune.errors import RequestError
from hftune.hub.card_table import table
from hftune.metrics import is_share
from hftune.report.curves import words
from hftune.report.history import History, read_history
from hftune.report.style import CYCLE, MARKERS, figure, save_with_svg
from hftune.train.run_facts import ResultsRecord, read_results_record
from hftune.units import format_duration

PICTURE = "comparison.png"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One run of a comparison: its name, what it reported and what came out."""

    name: str
    history: History
    results: ResultsRecord


def read_arms(runs: Sequence[Path]) -> tuple[Arm, ...]:
    """Read finished runs. Raises RunFolderError, and RequestError for the same run twice."""
    if len({run.resolve() for run in runs}) < len(runs):
        raise RequestError("a run is named twice", found=", ".join(map(str, runs)))
    return tuple(
        Arm(
            name=run.resolve().name,
            history=read_history(run),
            results=read_results_record(run),
        )
        for run in runs
    )


def comparison_table(arms: Sequence[Arm]) -> str:
    """Give a Markdown table: a row per run, a column per metric of the last split judged.

    That split is the test split where every run has one, else validation.
    """
    head, *rows = comparison_rows(arms)
    return f"Split: {_common_split(arms)}\n\n{table(head, rows)}"


def comparison_rows(arms: Sequence[Arm]) -> list[list[str]]:
    """Give the table's head and its rows, as `comparison_table` does."""
    split = _common_split(arms)
    names = list(dict.fromkeys(name for arm in arms for name in _values(arm, split)))
    head = ["run", *map(words, names), "images", "steps", "time", "images/s"]
    rows = []
    for arm in arms:
        values = _values(arm, split)
        result = arm.results.of(split)
        cells = [f"{values[name]:.4f}" if name in values else "" for name in names]
        rows.append(
            [
                arm.name,
                *cells,
                str(result.num_examples) if result is not None else "",
                str(arm.results.steps),
                format_duration(arm.results.seconds),
                f"{arm.results.images_per_second:.1f}",
            ]
        )
    return [head, *rows]


def plot_comparison(arms: Sequence[Arm], path: Path, *, metric: str | None = None) -> Path:
    """Draw validation loss and one metric of every run over its epochs, into a PNG file.

    `metric` is by default the one that picked the first run's weights. Raises DiskError.
    """
    name = metric or arms[0].results.best_metric
    split = _common_split(arms)
    with figure(9.5, 4.0) as drawing:
        left, right = drawing.subplots(1, 2)
        for axes, value in ((left, "loss"), (right, name)):
            _draw(axes, arms, value, split=split)
            axes.set_xlabel("Epoch")
            axes.legend(loc="best")
        left.set_title("Validation loss")
        right.set_title(f"Validation {words(name)}")
        if is_share(name):
            right.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
        return save_with_svg(drawing, path)


def _draw(axes: Axes, arms: Sequence[Arm], name: str, *, split: str) -> None:
    """Draw one value over the epochs; the legend gives its final value on `split`."""
    for position, arm in enumerate(arms):
        points = [point for point in arm.history.evaluations.get("val", ()) if name in point.values]
        axes.plot(
            [point.epoch for point in points],
            [point.values[name] for point in points],
            color=CYCLE[position % len(CYCLE)],
            marker=MARKERS[position % len(MARKERS)],
            markersize=4,
            label=_label(arm, name, split),
        )


def _label(arm: Arm, name: str, split: str) -> str:
    value = _values(arm, split).get(name)
    if value is None:
        return arm.name
    return f"{arm.name}, {split} " + (f"{value:.1%}" if is_share(name) else f"{value:.4g}")


def _common_split(arms: Sequence[Arm]) -> str:
    return "test" if all(arm.results.of("test") is not None for arm in arms) else "val"


def _values(arm: Arm, split: str) -> dict[str, float]:
    result = arm.results.of(split)
    return dict(result.values) if result is not None else {}
