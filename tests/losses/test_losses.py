"""Every loss in the table, against the contract; each one against a reference or by hand."""

import math

import pytest
import torch
import torchvision
from torch.nn import functional

from hftune.core import LabelSpace, ProblemName
from hftune.errors import ComponentError, PlanError
from hftune.losses import FITS, LOSSES, check_loss, losses_for, make_loss
from hftune.recipe.schema import Component

PROBLEMS: tuple[ProblemName, ...] = ("single_label", "multi_label", "regression")
FITTING = [(name, problem) for problem in PROBLEMS for name in losses_for(problem)]

# Options that change each loss, so that the contract is also checked away from the defaults.
OPTIONS = {
    "cross_entropy": {"label_smoothing": 0.1},
    "binary": {"pos_weight": [1.0, 2.0, 3.0, 4.0, 5.0]},
    "focal": {"gamma": 0.5, "alpha": [0.1, 0.2, 0.3, 0.4, 0.5]},
    "binary_focal": {"gamma": 0.5, "alpha": 0.25},
    "dice": {"smooth": 0.1},
    "bce_dice": {"smooth": 0.1, "dice_weight": 3.0},
    "iou": {"smooth": 0.1},
    "asymmetric": {"gamma_pos": 0.0, "gamma_neg": 2.0, "label_smoothing": 0.2},
    "binary_asymmetric": {"gamma_pos": 0.0, "gamma_neg": 2.0, "clip": 0.0},
    "poly": {"epsilon": -1.0, "label_smoothing": 0.1},
    "binary_poly": {"epsilon": 1.0, "gamma": 1.5, "alpha": 0.25},
    "two_way": {"temperature_pos": 2.0, "temperature_neg": 0.5},
    "distribution_balanced": {"gamma": 0.0, "neg_scale": 5.0},
    "huber": {"delta": 0.3},
    "smooth_l1": {"beta": 0.3},
}

# What a training split of five classes may be like, for the losses that ask.
LABELS = LabelSpace(names=tuple("abcde"), counts=(50, 20, 9, 3, 1), num_examples=60)
# Losses that compare the images of a batch with each other.
OF_THE_BATCH = {"two_way"}


def make(name, problem, options):
    return make_loss(Component(name=name, options=options), problem=problem, labels=LABELS)


def random_batch(problem, *, num=6, num_classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num, num_classes, generator=generator) * 3
    if problem == "single_label":
        return logits, torch.randint(num_classes, (num,), generator=generator)
    if problem == "regression":
        return logits, torch.randn(num, num_classes, generator=generator)
    return logits, torch.randint(2, (num, num_classes), generator=generator).float()


@pytest.fixture(params=[False, True], ids=["defaults", "options"])
def options_of(request):
    return lambda name: OPTIONS.get(name, {}) if request.param else {}


@pytest.mark.parametrize(("name", "problem"), FITTING)
def test_loss_gives_one_number_per_example(name, problem, options_of):
    loss = make(name, problem, options_of(name))
    logits, targets = random_batch(problem)
    values = loss(logits, targets)
    assert values.shape == (6,)
    assert values.dtype == torch.float32
    assert bool((values >= 0).all())
    if name in OF_THE_BATCH:
        return
    each = [loss(logits[k : k + 1], targets[k : k + 1]).item() for k in range(6)]
    assert values.tolist() == pytest.approx(each, rel=1e-6)


@pytest.mark.parametrize(("name", "problem"), FITTING)
def test_empty_batch_gives_an_empty_loss(name, problem, options_of):
    loss = make(name, problem, options_of(name))
    logits, targets = random_batch(problem, num=0)
    logits.requires_grad_()
    values = loss(logits, targets)
    assert values.shape == (0,)
    values.sum().backward()
    assert logits.grad is not None


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e2, 1e4])
@pytest.mark.parametrize(("name", "problem"), FITTING)
def test_gradients_are_finite_at_any_scale(name, problem, scale, options_of):
    loss = make(name, problem, options_of(name))
    logits, targets = random_batch(problem)
    logits = (logits * scale).requires_grad_()
    values = loss(logits, targets)
    assert bool(values.isfinite().all())
    values.sum().backward()
    assert bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("name", "problem"), FITTING)
def test_half_precision_logits_are_computed_in_fp32(name, problem, dtype, options_of):
    loss = make(name, problem, options_of(name))
    logits, targets = random_batch(problem)
    rounded = logits.to(dtype)
    values = loss(rounded, targets)
    assert values.dtype == torch.float32
    assert torch.equal(values, loss(rounded.float(), targets))


@pytest.mark.parametrize(("name", "problem"), FITTING)
def test_gradient_agrees_with_finite_differences(name, problem, options_of):
    loss = make(name, problem, options_of(name))
    logits, targets = random_batch(problem, num=2, seed=3)
    logits.requires_grad_()
    loss(logits, targets).sum().backward()
    delta = 1e-2  # the loss is fp32: the central difference is good to about 1e-3
    for row, column in ((0, 0), (1, 3)):
        bump = torch.zeros_like(logits)
        bump[row, column] = delta
        with torch.no_grad():
            slope = (loss(logits + bump, targets) - loss(logits - bump, targets)).sum() / delta / 2
        assert logits.grad[row, column].item() == pytest.approx(slope.item(), abs=2e-3)


@pytest.mark.parametrize(("name", "problem"), FITTING)
def test_loss_fits_the_plan(name, problem, options_of):
    loss = make(name, problem, options_of(name))
    check_loss(loss, problem=problem, num_classes=5)


def test_every_listed_loss_fits_a_problem():
    assert {name for name, _ in FITTING} == set(LOSSES)
    assert set(FITS) == set(LOSSES)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_cross_entropy_with_smoothing_by_hand(smoothing):
    logits, targets = random_batch("single_label")
    loss = LOSSES["cross_entropy"](logits, targets, label_smoothing=smoothing)
    log_p = logits.double().log_softmax(1)
    shares = torch.full_like(log_p, smoothing / 5)
    shares[torch.arange(6), targets] += 1 - smoothing
    assert loss.tolist() == pytest.approx((-(shares * log_p).sum(1)).tolist(), rel=1e-5)
    assert torch.equal(
        loss,
        functional.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none"),
    )


def test_cross_entropy_takes_soft_targets():
    logits, _ = random_batch("single_label")
    soft = torch.rand(6, 5, generator=torch.Generator().manual_seed(1)).softmax(1)
    expected = -(soft.double() * logits.double().log_softmax(1)).sum(1)
    assert LOSSES["cross_entropy"](logits, soft.half()).tolist() == pytest.approx(
        expected.tolist(), rel=1e-3
    )
    assert LOSSES["cross_entropy"](logits, soft).tolist() == pytest.approx(
        expected.tolist(), rel=1e-5
    )


@pytest.mark.parametrize("pos_weight", [1.0, 3.0, (1.0, 2.0, 3.0, 4.0, 5.0)])
def test_binary_agrees_with_torch(pos_weight):
    logits, targets = random_batch("multi_label")
    weight = torch.tensor(pos_weight)
    expected = functional.binary_cross_entropy_with_logits(
        logits, targets, pos_weight=weight, reduction="none"
    )
    assert torch.equal(LOSSES["binary"](logits, targets, pos_weight=pos_weight), expected.mean(1))


@pytest.mark.parametrize("name", ["binary", "binary_focal"])
def test_class_positions_are_one_yes_among_the_classes(name):
    logits, positions = random_batch("single_label")
    answers = functional.one_hot(positions, 5).float()
    assert torch.equal(LOSSES[name](logits, positions), LOSSES[name](logits, answers))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [None, 0.25, 0.9])
def test_binary_focal_agrees_with_torchvision(gamma, alpha):
    logits, targets = random_batch("multi_label")
    expected = torchvision.ops.sigmoid_focal_loss(
        logits, targets, alpha=-1 if alpha is None else alpha, gamma=gamma
    ).mean(1)
    loss = LOSSES["binary_focal"](logits, targets, gamma=gamma, alpha=alpha)
    assert loss.tolist() == pytest.approx(expected.tolist(), rel=2e-5, abs=1e-9)


def test_binary_focal_with_a_number_per_class():
    logits, targets = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    loss = LOSSES["binary_focal"](logits, targets, gamma=1.0, alpha=(0.3, 0.2))
    # p is one half: each term is weight * 0.5 * ln 2, with weights 0.3 and 1 - 0.2
    assert loss.item() == pytest.approx((0.3 + 0.8) / 2 * 0.5 * math.log(2))


def test_focal_by_hand():
    logits = torch.tensor([[math.log(3), 0.0], [0.0, math.log(4)]])  # p of the first 3/4, 1/5
    loss = LOSSES["focal"](logits, torch.tensor([0, 0]), gamma=2.0, alpha=(0.5, 1.0))
    expected = [-0.5 * 0.25**2 * math.log(0.75), -0.5 * 0.8**2 * math.log(0.2)]
    assert loss.tolist() == pytest.approx(expected)


def test_focal_without_focus_is_cross_entropy():
    logits, targets = random_batch("single_label")
    plain = LOSSES["focal"](logits, targets, gamma=0.0)
    assert plain.tolist() == pytest.approx(LOSSES["cross_entropy"](logits, targets).tolist())


def test_focal_takes_soft_targets():
    logits, targets = random_batch("single_label")
    hard = functional.one_hot(targets, 5).float()
    other = functional.one_hot((targets + 1) % 5, 5).float()
    mixed = LOSSES["focal"](logits, 0.7 * hard + 0.3 * other)
    parts = 0.7 * LOSSES["focal"](logits, hard) + 0.3 * LOSSES["focal"](logits, other)
    assert mixed.tolist() == pytest.approx(parts.tolist())


def test_weights_first_used_in_an_evaluation_still_train():
    logits, targets = random_batch("multi_label")
    weight = (1.5, 2.5, 3.5, 4.5, 5.5)
    with torch.inference_mode():
        LOSSES["binary"](logits, targets, pos_weight=weight)
    logits.requires_grad_()
    LOSSES["binary"](logits, targets, pos_weight=weight).sum().backward()
    assert bool(logits.grad.isfinite().all())


def test_loss_of_another_problem_is_refused_with_those_that_fit():
    with pytest.raises(PlanError) as caught:
        make_loss(Component(name="cross_entropy"), problem="multi_label")
    assert caught.value.allowed == ", ".join(losses_for("multi_label"))
    assert "binary_focal" in caught.value.allowed
    assert "cross_entropy" not in caught.value.allowed
    assert "single_label" in str(caught.value.found)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cross_entropy", {"label_smoothing": 1.0}),
        ("cross_entropy", {"label_smothing": 0.1}),
        ("focal", {"gamma": -1}),
        ("focal", {"alpha": [0.5, 1.5]}),
        ("binary", {"pos_weight": 0}),
        ("crossentropy", {}),
    ],
)
def test_wrong_names_and_options_are_refused(name, options):
    with pytest.raises(ComponentError):
        make_loss(Component(name=name, options=options), problem="single_label")


def test_list_of_another_length_is_refused():
    loss = make_loss(
        Component(name="binary", options={"pos_weight": [1, 2, 3]}), problem="multi_label"
    )
    with pytest.raises(PlanError) as caught:
        check_loss(loss, problem="multi_label", num_classes=2)
    assert caught.value.found == "3 numbers for 2 classes"
    assert caught.value.where == "loss.pos_weight"


def test_own_loss_is_found_and_checked(tmp_path):
    code = "def total(logits, targets, *, power: float = 1.0):\n    return logits.sum() ** power\n"
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    component = Component(name="./mine.py:total", options={"power": 2})
    loss = make_loss(component, problem="single_label", folder=tmp_path)
    assert loss(torch.full((1, 2), 3.0), torch.zeros(1)).item() == 36
    with pytest.raises(PlanError, match="one number per example"):
        check_loss(loss, problem="single_label", num_classes=2)
