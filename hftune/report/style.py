"""How every picture looks: size, colours that colour-blind readers can tell apart, saving."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hftune.files import write_bytes

# Okabe and Ito's palette; each line also has its own marker or dash.
BLUE = "#0072B2"
ORANGE = "#D55E00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
SKY = "#56B4E9"
PALE = "#C9C9C9"
GREY = "#6B6B6B"
CYCLE = (ORANGE, BLUE, GREEN, PURPLE, SKY)
MARKERS = ("o", "s", "^", "D", "v")


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """Give an empty figure of `width` x `height` inches, drawn without a display."""
    with mpl.rc_context(
        {
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#E4E4E4",
            "grid.linewidth": 0.8,
            "axes.axisbelow": True,
            "legend.frameon": False,
        }
    ):
        drawing = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(drawing)
        yield drawing


def save(drawing: Figure, path: Path) -> Path:
    """Write a figure as PNG in one step. Raises DiskError."""
    stream = BytesIO()
    # No software line in the file: the same run gives the same bytes.
    drawing.savefig(stream, format="png", dpi=150, bbox_inches="tight", metadata={"Software": None})
    write_bytes(path, stream.getvalue())
    return path


def note(axes: Axes, text: str) -> None:
    """Write small grey text at the upper right, outside the axes."""
    axes.set_title(text, loc="right", fontsize=9, color=GREY, fontweight="normal")
