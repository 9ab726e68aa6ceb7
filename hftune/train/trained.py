"""A run folder -> the classifier that it trained."""

from pathlib import Path

from hftune.model.published import Classifier, load_trained
from hftune.train.run_facts import BEST_WEIGHTS, read_model_record


def load_run(run: Path) -> Classifier:
    """Load the best weights so far, on the CPU; the run need not be finished.

    Raises RunFolderError, ModelError and WeightsError.
    """
    record = read_model_record(run)
    return load_trained(
        record.base, run / BEST_WEIGHTS, input_spec=record.input_spec, labels=record.labels
    )
