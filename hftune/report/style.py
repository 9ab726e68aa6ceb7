"""How every picture looks: size, colours that colour-blind readers can tell apart, saving."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

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
# Text and axes, the grid, and what lies under a legend. Nothing else has these colours, so that a
# page can put its own in their place.
INK = "#1B1F26"
GRID = "#E4E4E4"
GROUND = "#FEFEFE"
CYCLE = (ORANGE, BLUE, GREEN, PURPLE, SKY)
_INKED = (
    *("text.color", "axes.labelcolor", "axes.titlecolor", "axes.edgecolor"),
    *("xtick.color", "ytick.color"),
)
MARKERS = ("o", "s", "^", "D", "v")


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """Give an empty figure of `width` x `height` inches, drawn without a display."""
    inked: dict[Any, Any] = dict.fromkeys(_INKED, INK)
    with mpl.rc_context(
        {
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": GRID,
            "grid.linewidth": 0.8,
            "axes.axisbelow": True,
            "legend.frameon": False,
            "legend.facecolor": GROUND,
            **inked,
            "svg.fonttype": "none",  # text stays text, to be found and read aloud
            "svg.hashsalt": "hftune",
        }
    ):
        drawing = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(drawing)
        yield drawing


def save(drawing: Figure, path: Path) -> Path:
    """Write a figure as PNG in one step. Raises DiskError."""
    write_bytes(path, _encoded(drawing, format="png", dpi=150, metadata={"Software": None}))
    return path


def save_with_svg(drawing: Figure, path: Path) -> Path:
    """Write a figure as PNG, and beside it as SVG without a ground; give the former.

    Raises DiskError.
    """
    nothing = {"Date": None, "Creator": None}
    svg = _encoded(drawing, format="svg", transparent=True, metadata=nothing)
    write_bytes(path.with_suffix(".svg"), svg)
    return save(drawing, path)


def _encoded(drawing: Figure, **form: Any) -> bytes:
    """Give a figure's file: nothing of software, time or chance is in it."""
    stream = BytesIO()
    drawing.savefig(stream, bbox_inches="tight", **form)
    return stream.getvalue()


def note(axes: Axes, text: str) -> None:
    """Write small grey text at the upper right, outside the axes."""
    axes.set_title(text, loc="right", fontsize=9, color=GREY, fontweight="normal")
