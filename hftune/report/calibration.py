"""The reliability diagram of a run's best weights."""

from pathlib import Path

import numpy as np

from hftune.report.finished import FinishedRun
from hftune.report.style import BLUE, GREY, ORANGE, figure, save_with_svg
from hftune.train.calibration import NUM_BINS

PICTURE = "report/calibration.png"


def plot_calibration(run: FinishedRun) -> Path | None:
    """Draw `report/calibration.png`; None where there is nothing to draw. Raises DiskError."""
    found = run.calibration
    if found is None:
        return None
    with figure(9.5, 4.0) as drawing:
        left, right = drawing.subplots(1, 2, sharey=True)
        titles = ("As trained", f"Logits divided by {found.temperature:.2f}")
        for axes, title, one, color in zip(
            (left, right), titles, (found.plain, found.scaled), (ORANGE, BLUE), strict=True
        ):
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
            share = one.images / max(1, one.images.max())
            axes.bar(
                (np.arange(NUM_BINS) + 0.5) / NUM_BINS, one.right, width=0.9 / NUM_BINS,
                color=color, alpha=0.25, edgecolor="none",
            )  # fmt: skip
            axes.scatter(
                one.score, one.right, s=8 + 72 * share, color=color, zorder=3, clip_on=False
            )
            axes.set_title(f"{title}: error {one.error:.3f}")
            axes.set_xlabel("Score of the answer")
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1)
        left.set_ylabel("Share that is right")
        drawing.suptitle(
            f"Calibration: {run.name}, {found.split}", x=0.01, ha="left", weight="bold"
        )
        return save_with_svg(drawing, run.folder / PICTURE)
