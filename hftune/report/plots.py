"""The pictures of a run, drawn into its report folder."""

from pathlib import Path

from hftune.report.agreement import plot_agreement
from hftune.report.confusion import plot_confusion, plot_per_class
from hftune.report.curves import plot_learning_curves
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

    Of a run of regression: curves, and predicted against true numbers.

    Raises RunFolderError when the run is not finished, and DiskError.
    """
    results = read_results_record(run)
    if read_model_record(run).problem == "regression":
        return plot_learning_curves(run), plot_agreement(run)
    drawn = [plot_learning_curves(run), plot_per_class(run)]
    if all(result.confusion for result in results.evaluations):
        drawn.append(plot_confusion(run))
    return tuple(drawn)
