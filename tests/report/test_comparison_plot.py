"""The picture of a comparison: every arm has a colour of its own, every seed a dot."""

import numpy as np
from PIL import Image

from hftune.report.comparison_plot import plot_twins
from hftune.report.history import History, Point
from hftune.report.style import CYCLE
from hftune.report.verdict import weigh
from tests.twins import twin_run


def history(start, epochs=3):
    points = tuple(
        Point(step=epoch, epoch=epoch, values={"loss": 1.0, "accuracy": start + epoch / 20})
        for epoch in range(1, epochs + 1)
    )
    return History(train=(), evaluations={"val": points})


def shades(path, colour):
    """Count pixels of exactly this colour."""
    wanted = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)])
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return int((pixels == wanted).all(axis=2).sum())


def test_each_arm_is_drawn_in_its_colour(tmp_path):
    generator = np.random.default_rng(0)
    names = ("head", "all", "scratch")
    arms = {name: [twin_run(generator.random(60) < 0.8) for _ in range(2)] for name in names}
    found = weigh(arms, metric="accuracy", problem="single_label", times=100)
    histories = {name: [history(0.5), history(0.6, epochs=2)] for name in names}
    path = plot_twins(found, histories, tmp_path / "comparison.png")
    for colour in CYCLE[:3]:
        assert shades(path, colour) > 300
    for colour in CYCLE[3:]:
        assert shades(path, colour) == 0


def test_a_metric_that_was_not_reported_gives_way_to_the_loss(tmp_path):
    arms = {name: [twin_run(np.arange(60) < 40)] for name in ("head", "all")}
    found = weigh(arms, metric="macro_f1", problem="single_label", times=100)
    with_loss = {name: [history(0.5)] for name in arms}
    without = {name: [History(train=(), evaluations={})] for name in arms}
    drawn = plot_twins(found, with_loss, tmp_path / "loss.png")
    empty = plot_twins(found, without, tmp_path / "empty.png")
    assert shades(drawn, CYCLE[1]) > shades(empty, CYCLE[1]) + 300
