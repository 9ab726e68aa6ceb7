"""Losses of numbers against torch's own and by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from hftune.errors import PlanError
from hftune.losses import LOSSES, make_loss
from hftune.recipe.schema import Component

# Errors of 0, 1/2, 1 and 3.
LOGITS = torch.tensor([[2.0], [1.5], [0.0], [-1.0]])
TARGETS = torch.tensor([[2.0], [1.0], [1.0], [2.0]])


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("mse", {}, [0.0, 0.25, 1.0, 9.0]),
        ("l1", {}, [0.0, 0.5, 1.0, 3.0]),
        # e^2 / 2 up to 1, then e - 1/2
        ("huber", {}, [0.0, 0.125, 0.5, 2.5]),
        ("smooth_l1", {}, [0.0, 0.125, 0.5, 2.5]),
        # e^2 / 2 up to 2, then 2 (e - 1)
        ("huber", {"delta": 2.0}, [0.0, 0.125, 0.5, 4.0]),
        # e^2 / 4 up to 2, then e - 1
        ("smooth_l1", {"beta": 2.0}, [0.0, 0.0625, 0.25, 2.0]),
    ],
)
def test_errors_by_hand(name, options, expected):
    loss = make_loss(Component(name=name, options=options), problem="regression")
    assert loss(LOGITS, TARGETS).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("mse", functional.mse_loss),
        ("l1", functional.l1_loss),
        ("huber", functional.huber_loss),
        ("smooth_l1", functional.smooth_l1_loss),
    ],
)
def test_mean_over_a_batch_agrees_with_torch(name, reference):
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(2, 8, 1, generator=generator) * 2
    assert LOSSES[name](logits, targets).mean().item() == pytest.approx(
        reference(logits, targets).item()
    )


@given(error=st.floats(-50, 50), delta=st.floats(0.1, 10).map(lambda value: round(value, 3)))
def test_smooth_l1_is_huber_over_its_bend(error, delta):
    logits, targets = torch.tensor([[error]]), torch.zeros(1, 1)
    huber = LOSSES["huber"](logits, targets, delta=delta).item()
    smooth = LOSSES["smooth_l1"](logits, targets, beta=delta).item()
    assert huber == pytest.approx(delta * smooth, rel=1e-5, abs=1e-9)
    assert smooth <= abs(error) + 1e-6  # the line lies below the distance


@pytest.mark.parametrize("name", ["cross_entropy", "binary", "focal", "binary_focal"])
def test_losses_of_classes_do_not_fit_a_number(name):
    with pytest.raises(PlanError) as caught:
        make_loss(Component(name=name), problem="regression")
    assert caught.value.allowed == "mse, l1, huber, smooth_l1"


@pytest.mark.parametrize("problem", ["single_label", "multi_label"])
def test_losses_of_numbers_do_not_fit_classes(problem):
    with pytest.raises(PlanError, match=f"'mse' does not fit the problem '{problem}'"):
        make_loss(Component(name="mse"), problem=problem)
