"""The picture of every schedule, made by the functions that training uses; for the documentation.

`python -m hftune.report.schedule_shapes FILE.png` draws it.
"""

import sys
from pathlib import Path

from matplotlib.axes import Axes

from hftune.optim.schedules import make_schedule
from hftune.recipe.schema import Component
from hftune.report.style import BLUE, GREY, ORANGE, SKY, figure, save

_EPOCHS = 10
_STEPS_PER_EPOCH = 40
_WARMUP = "1 epoch"
# Per schedule, options in the words of a recipe; the first are the plain form.
EXAMPLES: dict[str, tuple[dict[str, object], ...]] = {
    "constant": ({},),
    "step": ({"every": "3 epochs"}, {"every": "2 epochs", "factor": 0.5}),
    "multi_step": ({"milestones": ["50%", "75%"]}, {"milestones": ["4 epochs"], "factor": 0.5}),
    "exponential": ({}, {"factor": 0.8, "every": "1 epoch"}),
    "cosine": ({}, {"cycles": 3, "cycle_decay": 0.6, "floor": 0.05}),
    "polynomial": ({}, {"power": 2}),
    "one_cycle": ({}, {"rise": "50%", "shape": "linear"}),
    "wsd": ({}, {"decay": "40%", "shape": "sqrt"}),
    "plateau": ({},),
}
_LINES = ((BLUE, "-"), (ORANGE, "--"), (SKY, "-."))


def plot_schedules(path: Path) -> Path:
    """Draw each schedule over a run of ten epochs, one of them warm-up. Raises DiskError."""
    with figure(9.5, 7.2) as drawing:
        grid = drawing.subplots(3, 3, sharex=True, sharey=True)
        for axes, (name, examples) in zip(grid.flat, EXAMPLES.items(), strict=True):
            _draw(axes, name, examples)
        for axes in grid[-1]:
            axes.set_xlabel("Epoch")
        for axes in grid[:, 0]:
            axes.set_ylabel("Rate / peak")
        return save(drawing, path)


def _draw(axes: Axes, name: str, examples: tuple[dict[str, object], ...]) -> None:
    steps = range(_EPOCHS * _STEPS_PER_EPOCH)
    for options, (color, dash) in zip(examples, _LINES, strict=False):
        own_rise = name == "one_cycle"  # it has a warm-up of its own
        schedule = make_schedule(
            Component(name=name, options=options if own_rise else {"warmup": _WARMUP, **options}),
            total_steps=len(steps),
            steps_per_epoch=_STEPS_PER_EPOCH,
        )
        axes.plot(
            [step / _STEPS_PER_EPOCH for step in steps],
            [schedule(step) for step in steps],
            color=color,
            linestyle=dash,
            linewidth=1.8,
            label=_words(options),
        )
    axes.set_title(name, pad=30)
    if name == "plateau":
        axes.text(5, 0.5, "falls where the\nmetric stalls", color=GREY, ha="center", va="center")
    axes.set_xlim(0, _EPOCHS)
    axes.set_ylim(0, 1.05)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.98), fontsize=7.5, borderpad=0)


def _words(options: dict[str, object]) -> str:
    """Give the options as they stand in a recipe."""
    parts = []
    for key, value in options.items():
        text = f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
        parts.append(f"{key}: {text}")
    return ", ".join(parts) or "as it comes"


if __name__ == "__main__":
    plot_schedules(Path(sys.argv[1]))
