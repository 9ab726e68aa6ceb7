"""A loss from outside the package: a function or a module by path, in ten lines."""

import pytest
import torch
from torch import nn

from hftune.core import LabelSpace
from hftune.errors import ComponentError, PlanError
from hftune.losses import check_loss, check_mixed_loss, find_loss, make_loss
from hftune.recipe.schema import Component

LABELS = LabelSpace(names=("a", "b", "c"), counts=(6, 3, 1), num_examples=10)

CODE = """\
from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import nn
from torch.nn import functional


def poly1(logits, targets, *, epsilon: Annotated[float, Ge(-1)] = 1.0):
    losses = functional.cross_entropy(logits, targets, reduction="none")
    return losses + epsilon * (1 - (-losses).exp())


def by_frequency(logits, targets, *, class_counts: tuple[int, ...], num_examples: int):
    shares = torch.tensor(class_counts) / num_examples
    return functional.cross_entropy(logits + shares.log(), targets, reduction="none")


class Poly1(nn.Module):
    built = 0

    def __init__(self, epsilon: Annotated[float, Ge(-1)] = 1.0, weights: tuple[float, ...] = ()):
        super().__init__()
        type(self).built += 1
        self.epsilon = epsilon
        self.register_buffer("weights", torch.tensor(weights or (1.0,)))

    def forward(self, logits, targets):
        losses = functional.cross_entropy(logits, targets, reduction="none")
        return self.weights.mean() * (losses + self.epsilon * (1 - (-losses).exp()))


class Mean(nn.Module):
    def forward(self, logits, targets):
        return functional.cross_entropy(logits, targets)


class Inherited(Poly1):
    pass


class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


class Picky(nn.Module):
    def __init__(self, power: int = 2):
        super().__init__()
        raise OSError("no table of powers")


def over_examples(logits, targets):
    return logits.sum(dim=0)


def fails(logits, targets):
    return logits @ targets


def detached(logits, targets):
    return functional.cross_entropy(logits.detach(), targets, reduction="none")
"""


@pytest.fixture(autouse=True)
def _mine(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)


def make(name: str, **options: object):
    component = Component(name=f"./mine.py:{name}", options=options)
    return make_loss(component, problem="single_label", labels=LABELS)


def check(name: str, **options: object) -> None:
    check_loss(make(name, **options), problem="single_label", num_classes=3)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 3, generator=generator), torch.randint(3, (6,), generator=generator)


@pytest.mark.parametrize("name", ["poly1", "Poly1", "Inherited"])
def test_a_function_and_a_module_agree_with_the_loss_of_the_same_name(name):
    logits, targets = batch()
    poly = make_loss(Component(name="poly", options={"epsilon": 0.5}), problem="single_label")
    ours = make(name, epsilon=0.5)
    assert torch.allclose(ours(logits, targets), poly(logits, targets))
    check(name, epsilon=0.5)


def test_a_module_is_built_once():
    loss = make("Poly1", weights=[1.0, 2.0])
    built = type(loss.loss).built
    for _ in range(3):
        loss(*batch())
    assert type(loss.loss).built == built
    assert torch.allclose(loss(*batch()), 1.5 * make("Poly1")(*batch()))


def test_half_precision_reaches_a_loss_of_ones_own_in_fp32():
    logits, targets = batch()
    for name in ("poly1", "Poly1"):
        assert make(name)(logits.half(), targets).dtype == torch.float32


def test_a_loss_may_ask_how_frequent_classes_are():
    logits, targets = batch()
    expected = nn.functional.cross_entropy(
        logits + torch.tensor([0.6, 0.3, 0.1]).log(), targets, reduction="none"
    )
    assert torch.allclose(make("by_frequency")(logits, targets), expected)


def test_torch_s_own_modules_can_be_named():
    logits, targets = batch()
    component = Component(
        name="torch.nn:CrossEntropyLoss", options={"reduction": "none", "label_smoothing": 0.1}
    )
    loss = make_loss(component, problem="single_label")
    ours = make_loss(
        Component(name="cross_entropy", options={"label_smoothing": 0.1}), problem="single_label"
    )
    assert torch.equal(loss(logits, targets), ours(logits, targets))
    check_loss(loss, problem="single_label", num_classes=3)
    check_mixed_loss(loss, num_classes=3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("poly1", {"epsilon": -2}),
        ("Poly1", {"epsilon": -2}),
        ("Poly1", {"epsilon": "much"}),
        ("Poly1", {"epsilonn": 1}),
        ("Inherited", {"epsilon": -2}),
        ("Mean", {"epsilon": 1}),
        ("Poly2", {}),
    ],
)
def test_wrong_options_and_names_are_refused(name, options):
    with pytest.raises(ComponentError):
        make(name, **options)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Mean", "float32 [] for 2 examples of 3 classes"),
        ("detached", "float32 [2], without a gradient for 2 examples of 3 classes"),
    ],
)
def test_a_loss_that_reduces_too_far_or_not_at_all_is_refused(name, found):
    with pytest.raises(PlanError) as caught:
        check(name)
    assert caught.value.problem == "the loss does not give one number per example"
    assert caught.value.found == found
    assert caught.value.remedy.startswith("reduce over the classes only")


@pytest.mark.parametrize("num_classes", [1, 2, 3])
def test_a_loss_that_reduces_over_the_examples_is_refused(num_classes):
    with pytest.raises(PlanError, match="one number per example"):
        check_loss(make("over_examples"), problem="single_label", num_classes=num_classes)


def test_a_loss_that_fails_is_shown_with_its_own_words():
    with pytest.raises(PlanError) as caught:
        check("fails")
    assert caught.value.found.startswith("RuntimeError: ")
    assert caught.value.allowed == "logits [2, 3] and targets int64 [2]"


def test_a_loss_that_takes_positions_only_is_refused_where_images_are_mixed():
    component = Component(name="timm.loss:AsymmetricLossSingleLabel", options={"reduction": "none"})
    loss = make_loss(component, problem="single_label")
    check_loss(loss, problem="single_label", num_classes=3)
    with pytest.raises(PlanError, match="fails on 2 examples"):
        check_mixed_loss(loss, num_classes=3)


def test_a_loss_with_weights_to_train_is_refused():
    with pytest.raises(PlanError) as caught:
        make("Learned")
    assert caught.value.found == "scale"


def test_a_module_that_cannot_be_built_is_refused():
    with pytest.raises(PlanError) as caught:
        make("Picky")
    assert caught.value.found == "OSError: no table of powers"


def test_a_function_is_found_as_it_is():
    assert find_loss("./mine.py:poly1").__name__ == "poly1"
