"""The pictures of a run, drawn into its report folder."""

from pathlib import Path

from hftune.report.agreement import plot_agreement
from hftune.report.calibration import plot_calibration
from hftune.report.confusion import plot_confusion, plot_per_class
from hftune.report.curves import plot_learning_curves
from hftune.report.depth_chart import plot_depth_rates
from hftune.report.finished import FinishedRun, read_finished
from hftune.report.throughput import plot_throughput

__all__ = [
    "draw_report",
    "plot_agreement",
    "plot_confusion",
    "plot_learning_curves",
    "plot_per_class",
]


def draw_report(run: Path) -> tuple[Path, ...]:
    """Read a finished run and draw its pictures. Raises as `draw_pictures` does."""
    return draw_pictures(read_finished(run))


def draw_pictures(run: FinishedRun) -> tuple[Path, ...]:
    """Draw every picture that fits a finished run, as PNG, with an SVG beside each.

    Curves, rate at every depth, throughput, per-class bars, confusion matrix and calibration.

    Of a run of regression: curves, and predicted against true numbers. A soup was not trained and
    has no curves.

    Raises RunFolderError for a file that is missing or damaged, and DiskError.
    """
    drawn: list[Path | None] = []
    if not run.is_soup:
        drawn += [plot_learning_curves(run.folder, run.history, run.results)]
        drawn += [plot_depth_rates(run), plot_throughput(run)]
    if run.model.problem == "regression":
        drawn.append(plot_agreement(run))
    else:
        drawn.append(plot_per_class(run))
        if all(result.confusion for result in run.results.evaluations):
            drawn.append(plot_confusion(run))
        drawn.append(plot_calibration(run))
    return tuple(picture for picture in drawn if picture is not None)
