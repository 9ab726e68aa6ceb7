"""timm's losses: each mean is timm's own, and each is checked once against its paper by hand."""

import math
from types import SimpleNamespace

import pytest
import timm.loss
import torch
from torch.nn import functional

from hftune.core import LabelSpace
from hftune.errors import ComponentError, PlanError
from hftune.losses import LOSSES, check_loss, find_loss, make_loss
from hftune.losses.from_timm import FROM_TIMM, offered
from hftune.recipe.schema import Component

COUNTS = (50, 20, 9, 3, 1)
LABELS = LabelSpace(names=tuple("abcde"), multi=True, counts=COUNTS, num_examples=60)
MULTI = {"binary_asymmetric", "binary_poly", "zlpr", "two_way", "distribution_balanced"}

# ours -> (our options, timm's class, timm's options)
CASES = [
    ("asymmetric", {}, "AsymmetricLossSingleLabel", {}),
    (
        "asymmetric",
        {"gamma_pos": 0, "gamma_neg": 2, "label_smoothing": 0.2},
        "AsymmetricLossSingleLabel",
        {"gamma_pos": 0, "gamma_neg": 2, "eps": 0.2},
    ),
    ("binary_asymmetric", {}, "AsymmetricLossMultiLabel", {}),
    (
        "binary_asymmetric",
        {"gamma_pos": 0, "gamma_neg": 2, "clip": 0.0},
        "AsymmetricLossMultiLabel",
        {"gamma_pos": 0, "gamma_neg": 2, "clip": 0.0},
    ),
    ("poly", {}, "PolyCrossEntropy", {}),
    (
        "poly",
        {"epsilon": -0.5, "label_smoothing": 0.1},
        "PolyCrossEntropy",
        {"epsilon": -0.5, "smoothing": 0.1},
    ),
    ("binary_poly", {}, "PolyBinaryCrossEntropy", {}),
    (
        "binary_poly",
        {"epsilon": 1.0, "gamma": 1.5, "alpha": 0.3},
        "PolyBinaryCrossEntropy",
        {"epsilon": 1.0, "gamma": 1.5, "alpha": 0.3},
    ),
    ("zlpr", {}, "ZlprLoss", {}),
    ("two_way", {}, "TwoWayLoss", {}),
    (
        "two_way",
        {"temperature_pos": 2.0, "temperature_neg": 0.5},
        "TwoWayLoss",
        {"tp": 2.0, "tn": 0.5},
    ),
    (
        "distribution_balanced",
        {},
        "DistributionBalancedLoss",
        {"class_counts": COUNTS, "num_samples": 60},
    ),
    (
        "distribution_balanced",
        {"gamma": 0, "neg_scale": 5.0},
        "DistributionBalancedLoss",
        {"class_counts": COUNTS, "num_samples": 60, "focal_gamma": 0, "neg_scale": 5.0},
    ),
]
HERE = [case for case in CASES if hasattr(timm.loss, case[2])]


def batch(name: str, *, num: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(num, 5, generator=generator)
    if name in MULTI:
        return logits, torch.randint(2, (num, 5), generator=generator).float()
    return logits, torch.randint(5, (num,), generator=generator)


def make(name: str, **options: object):
    problem = "multi_label" if name in MULTI else "single_label"
    return make_loss(Component(name=name, options=options), problem=problem, labels=LABELS)


@pytest.mark.parametrize(("name", "options", "theirs", "their_options"), HERE)
def test_the_mean_over_a_batch_is_timm_s(name, options, theirs, their_options):
    logits, targets = batch(name)
    expected = getattr(timm.loss, theirs)(**their_options)(logits, targets)
    assert make(name, **options)(logits, targets).mean().item() == pytest.approx(
        expected.item(), rel=1e-5
    )


@pytest.mark.parametrize(("name", "options", "theirs", "their_options"), HERE)
def test_so_is_its_gradient(name, options, theirs, their_options):
    logits, targets = batch(name)
    ours, reference = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    make(name, **options)(ours, targets).mean().backward()
    getattr(timm.loss, theirs)(**their_options)(reference, targets).backward()
    assert torch.allclose(ours.grad, reference.grad, atol=1e-6)


def test_every_loss_of_timm_is_compared():
    assert {name for name, *_ in CASES} == set(FROM_TIMM)


def test_asymmetric_by_hand():
    # Ridnik et al. 2021: a yes (1 - p)^g+ log p; a no pm^g- log(1 - pm), pm = max(p - clip, 0)
    logits = torch.tensor([[math.log(3), math.log(3), -math.log(99)]])  # p 3/4, 3/4, 1/100
    targets = torch.tensor([[1.0, 0.0, 0.0]])
    expected = -(0.25 * math.log(0.75) + 0.7**4 * math.log(1 - 0.7))
    loss = make("binary_asymmetric")(logits, targets)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.skipif("poly" not in LOSSES, reason="timm is older")
def test_poly_by_hand():
    logits = torch.tensor([[math.log(3), 0.0]])  # p of the first 3/4
    loss = make("poly", epsilon=2.0)(logits, torch.tensor([0]))
    assert loss.item() == pytest.approx(-math.log(0.75) + 2 * 0.25)


@pytest.mark.skipif("zlpr" not in LOSSES, reason="timm is older")
def test_zlpr_by_hand_and_as_cross_entropy_with_zero_between():
    logits = torch.tensor([[math.log(2), math.log(3), -math.log(4)]])
    targets = torch.tensor([[1.0, 0.0, 0.0]])
    loss = make("zlpr")(logits, targets)
    assert loss.item() == pytest.approx(math.log(1 + 3 + 1 / 4) + math.log(1 + 1 / 2))


@pytest.mark.skipif("two_way" not in LOSSES, reason="timm is older")
def test_two_way_gives_each_image_the_value_of_the_batch():
    logits, targets = batch("two_way")
    values = make("two_way")(logits, targets)
    assert values.unique().numel() == 1
    # One image with one yes: softplus of the hardest no less the yes; no class compares images.
    single = make("two_way")(torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
    assert single.item() == pytest.approx(functional.softplus(torch.tensor(-1.0)).item())


@pytest.mark.skipif("distribution_balanced" not in LOSSES, reason="timm is older")
def test_distribution_balanced_needs_the_numbers_of_the_classes():
    component = Component(name="distribution_balanced")
    for labels in (None, LabelSpace(names=("a",), multi=True, counts=(5,), num_examples=9)):
        loss = make_loss(component, problem="multi_label", labels=labels)
        with pytest.raises(PlanError, match="numbers are not known"):
            check_loss(loss, problem="multi_label", num_classes=5)


@pytest.mark.skipif("distribution_balanced" not in LOSSES, reason="timm is older")
def test_a_rare_class_counts_more_in_the_same_image():
    # Wu et al. 2020: of an image's two classes the rarer one is re-balanced upwards.
    loss = make("distribution_balanced", gamma=0)
    logits = torch.zeros(1, 5, requires_grad=True)
    loss(logits, torch.tensor([[1.0, 0.0, 0.0, 0.0, 1.0]])).sum().backward()
    assert logits.grad[0, 4] < logits.grad[0, 0] < 0


@pytest.mark.parametrize("gamma", [-1, 0.5, 0.99])
def test_a_focus_without_a_finite_slope_is_refused(gamma):
    with pytest.raises(ComponentError, match="cannot be used"):
        make("binary_asymmetric", gamma_pos=gamma)


def test_an_older_timm_leaves_its_losses_out():
    old = SimpleNamespace(AsymmetricLossSingleLabel=1, AsymmetricLossMultiLabel=1)
    assert list(offered(old)) == ["asymmetric", "binary_asymmetric"]
    assert set(offered(timm.loss)) <= set(LOSSES)


@pytest.mark.skipif(set(FROM_TIMM) > set(LOSSES), reason="timm is older")
def test_a_loss_that_is_left_out_names_the_timm_that_brings_it(monkeypatch):
    without = {name: loss for name, loss in LOSSES.items() if name != "zlpr"}
    monkeypatch.setattr("hftune.losses.LOSSES", without)
    with pytest.raises(ComponentError) as caught:
        find_loss("zlpr")
    assert str(caught.value).startswith("the loss 'zlpr' needs timm 1.0.31 or newer\n")
    assert caught.value.found == f"timm {timm.__version__}"
