"""The pictures of a run, drawn into its report folder."""

from pathlib import Path

from hftune.report.confusion import plot_confusion, plot_per_class
from hftune.report.curves import plot_learning_curves
from hftune.train.run_facts import read_results_record

__all__ = ["draw_report", "plot_confusion", "plot_learning_curves", "plot_per_class"]


def draw_report(run: Path) -> tuple[Path, ...]:
    """Draw every picture that fits a finished run: curves, per-class bars, confusion matrix.

    Raises RunFolderError when the run is not finished, and DiskError.
    """
    results = read_results_record(run)
    drawn = [plot_learning_curves(run), plot_per_class(run)]
    if all(result.confusion for result in results.evaluations):
        drawn.append(plot_confusion(run))
    return tuple(drawn)
