"""How many images a second a run trained on, and how much of the time it waited for them."""

from pathlib import Path

from matplotlib.ticker import PercentFormatter

from hftune.report.finished import FinishedRun
from hftune.report.style import BLUE, ORANGE, figure, save_with_svg

PICTURE = "report/throughput.png"


def plot_throughput(run: FinishedRun) -> Path | None:
    """Draw `report/throughput.png`; None where the run reported no training. Raises DiskError."""
    points = run.history.train
    if not points:
        return None
    steps = [point.step for point in points]
    with figure(9.5, 3.2) as drawing:
        speed, waiting = drawing.subplots(1, 2, sharex=True)
        speed.plot(steps, [p.values.get("images_per_second", 0.0) for p in points], color=BLUE)
        speed.set_title("Images per second")
        waiting.plot(steps, [p.values.get("waiting", 0.0) for p in points], color=ORANGE)
        waiting.set_title("Share of the time waiting for data")
        waiting.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
        waiting.set_ylim(0, max(0.05, *(p.values.get("waiting", 0.0) for p in points)))
        speed.set_ylim(bottom=0)
        for axes in (speed, waiting):
            axes.set_xlabel("Step")
        return save_with_svg(drawing, run.folder / PICTURE)
