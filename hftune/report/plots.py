"""The pictures of a run, drawn into its report folder."""

from pathlib import Path

from hftune.report.agreement import plot_agreement
from hftune.report.calibration import plot_calibration
from hftune.report.confusion import plot_confusion, plot_per_class
from hftune.report.curves import plot_learning_curves
from hftune.report.throughput import plot_throughput
from hftune.train.average_record import SOUP_FILE
from hftune.train.run_facts import read_model_record, read_results_record

__all__ = [
    "draw_report",
    "plot_agreement",
    "plot_confusion",
    "plot_learning_curves",
    "plot_per_class",
]


def draw_report(run: Path) -> tuple[Path, ...]:
    """Draw every picture that fits a finished run, as PNG, with an SVG beside each.

    Curves, throughput, per-class bars, confusion matrix and calibration.

    Of a run of regression: curves, and predicted against true numbers. A soup was not trained and
    has no curves.

    Raises RunFolderError when the run is not finished, and DiskError.
    """
    results = read_results_record(run)
    is_soup = (run / SOUP_FILE).is_file()
    drawn = [] if is_soup else [plot_learning_curves(run), plot_throughput(run)]
    if read_model_record(run).problem == "regression":
        drawn.append(plot_agreement(run))
    else:
        drawn.append(plot_per_class(run))
        if all(result.confusion for result in results.evaluations):
            drawn.append(plot_confusion(run))
        drawn.append(plot_calibration(run))
    return tuple(picture for picture in drawn if picture is not None)
