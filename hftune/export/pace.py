"""How much of its time a run waited for images, from what it reported."""

import json
import math
from pathlib import Path

from hftune.errors import RunFolderError
from hftune.train.run_facts import METRICS_FILE


def share_waiting(run: Path) -> float | None:
    """Give the share 0..1 of the training time in which it waited; None where that is not known.

    The mean over the reports, each weighted by its time. Raises RunFolderError.
    """
    path = run / METRICS_FILE
    if not path.is_file():
        return None
    waited = seconds = 0.0
    before = 0
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["kind"] != "train":
                continue
            steps, before = row["step"] - before, row["step"]
            if "waiting" in row and row["images_per_second"] > 0:
                time = steps / row["images_per_second"]  # in units of a batch
                waited, seconds = waited + row["waiting"] * time, seconds + time
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise RunFolderError(
            "this run's reports cannot be read", found=repr(error), where=str(path)
        ) from error
    share = waited / seconds if seconds else math.nan
    return share if math.isfinite(share) else None
