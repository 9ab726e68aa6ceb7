"""Predicted against true numbers: what is drawn for few targets, many images, and no numbers."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hftune.errors import RunFolderError
from hftune.report.agreement import plot_agreement
from hftune.report.curves import metric_names
from hftune.report.finished import read_finished
from hftune.report.history import read_history
from hftune.report.plots import draw_report
from tests.finished_numbers import write_finished_numbers

RNG = np.random.default_rng(1)
BLUE, ORANGE = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def share_of(path: Path, colour: tuple[int, int, int]) -> float:
    """Give the share of pixels that are of one colour or a paler shade of it."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).astype(float) / 255
    full = np.array(colour) / 255
    alpha = (1 - pixels) @ (1 - full) / ((1 - full) @ (1 - full))
    shade = 1 - alpha[..., None] * (1 - full)
    close = (np.abs(shade - pixels).max(axis=-1) < 0.03) & (alpha > 0.3)
    return float(close.mean())


@pytest.mark.parametrize("number", [50, 5000])
def test_each_image_is_a_point_or_a_shade(tmp_path, number):
    run = write_finished_numbers(tmp_path / "run", true=RNG.gamma(4, 10, size=number))
    path = plot_agreement(read_finished(run))
    assert path == run / "report" / "agreement.png"
    assert share_of(path, BLUE) > 0.001
    assert share_of(path, ORANGE) < 0.0001


def test_few_targets_are_columns_with_their_means(tmp_path):
    true = RNG.choice([0.0, 1 / 3, 2 / 3, 1.0], size=200)
    path = plot_agreement(read_finished(write_finished_numbers(tmp_path / "run", true=true)))
    assert share_of(path, ORANGE) > 0.0005


def test_the_same_run_gives_the_same_bytes(tmp_path):
    run = write_finished_numbers(tmp_path / "run")
    assert (
        plot_agreement(read_finished(run)).read_bytes()
        == plot_agreement(read_finished(run)).read_bytes()
    )


def test_a_run_of_numbers_gets_curves_and_agreement_only(tmp_path):
    run = write_finished_numbers(tmp_path / "run")
    names = ["learning_curves.png", "throughput.png", "agreement.png"]
    assert [path.name for path in draw_report(run)] == names
    assert read_finished(run).results.best_metric == "mae"


def test_errors_and_correlations_are_not_drawn_together(tmp_path):
    points = read_history(write_finished_numbers(tmp_path / "run")).evaluations["val"]
    assert metric_names(points, first="mae") == ["mae", "rmse"]
    assert metric_names(points, first="r2") == ["r2", "pearson", "spearman"]


def test_runs_of_classes_have_no_agreement(make_run):
    with pytest.raises(RunFolderError, match="of regression only"):
        plot_agreement(read_finished(make_run()))


def test_a_run_that_kept_no_predictions(tmp_path):
    run = write_finished_numbers(tmp_path / "run")
    (run / "predictions" / "test.safetensors").unlink()
    with pytest.raises(RunFolderError, match="kept no predictions"):
        plot_agreement(read_finished(run))
