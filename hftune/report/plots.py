"""The pictures of a run, drawn into its report folder."""

from pathlib import Path

from hftune.report.agreement import plot_agreement
from hftune.report.confusion import plot_confusion, plot_per_class
from hftune.report.curves import plot_learning_curves
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
    """Draw every picture that fits a finished run: curves, per-class bars, confusion matrix.

    Of a run of regression: curves, and predicted against true numbers. A soup was not trained and
    has no curves.

    Raises RunFolderError when the run is not finished, and DiskError.
    """
    results = read_results_record(run)
    drawn = [] if (run / SOUP_FILE).is_file() else [plot_learning_curves(run)]
    if read_model_record(run).problem == "regression":
        return (*drawn, plot_agreement(run))
    drawn.append(plot_per_class(run))
    if all(result.confusion for result in results.evaluations):
        drawn.append(plot_confusion(run))
    return tuple(drawn)
