from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hftune.report.calibration import plot_calibration
from hftune.report.finished import read_finished
from hftune.train.calibration import (
    calibration_of,
    fit_temperature,
    reliability,
    scores_of,
)
from hftune.train.predictions import Predictions, write_predictions


def said(logits: torch.Tensor, targets: torch.Tensor, split: str = "val") -> Predictions:
    return Predictions(split=split, digest="d", logits=logits, targets=targets)


def drawn(temperature: float, *, number: int = 20_000, seed: int = 0) -> Predictions:
    """Give answers of a model that is right as often as it says, at another temperature."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(number, 3, generator=generator)
    targets = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return said(logits * temperature, targets)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_that_with_which_answers_were_drawn(temperature: float) -> None:
    found = fit_temperature(drawn(temperature), several=False)
    assert found == pytest.approx(temperature, rel=0.05)


def test_the_error_is_the_mean_gap_weighted_by_images() -> None:
    # Two bins: 3 answers of score 0.95, two right; 1 of 0.55, right. (3 * 0.2833 + 0.45) / 4
    score = np.array([0.95, 0.95, 0.95, 0.55])
    right = np.array([True, True, False, True])
    found = reliability(score, right)
    assert found.error == pytest.approx((3 * (0.95 - 2 / 3) + 0.45) / 4)
    assert found.images.sum() == 4
    assert np.isnan(found.score).sum() == 13


def test_a_score_of_one_is_in_the_last_bin() -> None:
    assert reliability(np.array([1.0]), np.array([True])).images[-1] == 1


def test_with_several_labels_each_class_is_an_answer_of_yes_or_no() -> None:
    logits = torch.tensor([[2.0, -2.0]])
    score, right = scores_of(said(logits, torch.tensor([[1.0, 1.0]])), 1.0, several=True)
    assert score == pytest.approx([0.8808, 0.8808], abs=1e-4)
    assert right.tolist() == [True, False]


def test_a_run_is_judged_on_test_and_fitted_on_validation(make_run: Callable[..., Path]) -> None:
    run = make_run()
    assert calibration_of(run) is None
    assert plot_calibration(read_finished(run)) is None
    write_predictions(run, drawn(3.0))
    same = calibration_of(run)
    assert same is not None
    assert (same.split, same.fitted_on) == ("val", "val")
    test = drawn(3.0, seed=1)
    write_predictions(run, said(test.logits, test.targets, "test"))
    found = calibration_of(run)
    assert found is not None
    assert (found.split, found.fitted_on) == ("test", "val")
    assert found.temperature == same.temperature
    assert found.scaled.error < 0.02 < 0.1 < found.plain.error
    path = plot_calibration(read_finished(run))
    assert path is not None
    assert path.with_suffix(".svg").read_text().startswith("<?xml")


def test_scores_that_say_nothing_have_a_bounded_temperature() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = said(torch.randn(500, 2, generator=generator), torch.randint(0, 2, (500,)))
    assert 0.05 <= fit_temperature(noise, several=False) <= 20
    sure = said(torch.tensor([[5.0, 0.0], [0.0, 5.0]]), torch.tensor([0, 1]))
    assert 0.05 <= fit_temperature(sure, several=False) < 1
