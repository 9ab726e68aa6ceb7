"""L2-SP: its gradients are those of the penalty of Li et al. 2018, as autograd takes them."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from hftune.core import WeightsReport
from hftune.model.freeze import apply_freeze
from hftune.model.select import select
from hftune.optim.l2_sp import StartingPoint, place_pull, pull_gradients, starting_point
from hftune.recipe.schema import L2SPRecipe, OptimRecipe
from tests.drawn import tiny_model

ALPHA, BETA = 0.3, 0.05
OPTIM = OptimRecipe(weight_decay=0.0, l2_sp=L2SPRecipe(strength=ALPHA, new_strength=BETA))
ARCHITECTURES = ("test_vit", "test_resnet", "test_efficientnet")


def built(architecture):
    """A model whose head is new, as after a head reset."""
    model = tiny_model(architecture)
    head = tuple(name for name, role in model.layers.role.items() if role == "head")
    return replace(model, weights=WeightsReport(reset=head))


def moved(model):
    """Move every parameter off its start and give it a gradient; return the gradients."""
    torch.manual_seed(7)
    gradients = {}
    for name, value in model.module.named_parameters():
        value.data.add_(torch.randn_like(value))
        if value.requires_grad:
            value.grad = gradients[name] = torch.randn_like(value)
    return {name: value.clone() for name, value in gradients.items()}


def decays(model, name, value):
    """The rule of weight decay in words: kernels and matrices, outside positions and tokens."""
    return value.ndim > 1 and (model.layers.role[name] != "embed" or name.endswith(".weight"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_those_of_the_penalty(architecture):
    model = built(architecture)
    start = {name: value.detach().clone() for name, value in model.module.named_parameters()}
    point = starting_point(model, OPTIM)
    before = moved(model)
    pull_gradients(place_pull(point, model.module))

    # Equation 2 of the paper; autograd takes its gradient.
    parameters = dict(model.module.named_parameters())
    touched = {name: value for name, value in parameters.items() if decays(model, name, value)}
    new = {name for name in touched if model.layers.role[name] == "head"}
    assert 0 < len(new) < len(touched) < len(parameters)
    penalty = ALPHA / 2 * sum(
        ((value - start[name]) ** 2).sum() for name, value in touched.items() if name not in new
    ) + BETA / 2 * sum((touched[name] ** 2).sum() for name in new)
    expected = dict(zip(touched, torch.autograd.grad(penalty, list(touched.values())), strict=True))
    for name, value in parameters.items():
        added = value.grad - before[name]
        wanted = expected.get(name, torch.zeros_like(value))
        torch.testing.assert_close(added, wanted, rtol=1e-4, atol=1e-5)
        if name not in touched:
            assert torch.equal(value.grad, before[name])


def test_a_step_without_other_gradients_goes_straight_to_the_start():
    model = built("test_vit")
    start = {name: value.detach().clone() for name, value in model.module.named_parameters()}
    point = starting_point(model, replace(OPTIM, l2_sp=L2SPRecipe(strength=1, new_strength=1)))
    moved(model)
    for value in model.module.parameters():
        value.grad = torch.zeros_like(value)
    pull_gradients(place_pull(point, model.module))
    torch.optim.SGD(model.module.parameters(), lr=1.0).step()
    for name, value in model.module.named_parameters():
        if name in point.pretrained:
            torch.testing.assert_close(value.detach(), start[name], rtol=0, atol=1e-6)
        elif name in point.new:
            assert torch.count_nonzero(value) == 0


def test_the_start_is_kept_apart_from_the_weights_that_train():
    model = built("test_vit")
    start = {name: value.detach().clone() for name, value in model.module.named_parameters()}
    point = starting_point(model, OPTIM)
    moved(model)
    assert point.new == {"head.weight"}
    assert all(torch.equal(value, start[name]) for name, value in point.pretrained.items())


def test_at_the_start_pretrained_weights_feel_no_pull():
    model = built("test_vit")
    point = starting_point(model, OPTIM)
    for value in model.module.parameters():
        value.grad = torch.zeros_like(value)
    pull_gradients(place_pull(point, model.module))
    still = {n for n, v in model.module.named_parameters() if torch.count_nonzero(v.grad) == 0}
    assert {name for name, _ in model.module.named_parameters()} - still == {"head.weight"}


def test_a_head_kept_for_the_same_classes_is_drawn_to_where_it_stood():
    point = starting_point(tiny_model("test_vit"), OPTIM)
    assert "head.weight" in point.pretrained
    assert not point.new


def test_only_what_trains_is_placed_and_pulled():
    model = built("test_resnet")
    names = [name for name, _ in model.module.named_parameters()]
    trainable = select(["stage.-1"], model.layers, names)
    apply_freeze(model.module, trainable)
    point = starting_point(model, OPTIM)
    moved(model)
    pull = place_pull(point, model.module)
    placed = {id(value) for value in (*pull.old, *pull.new)}
    assert placed == {
        id(value)
        for name, value in model.module.named_parameters()
        if name in trainable and value.ndim > 1
    }
    pull_gradients(pull)
    assert all(v.grad is None for n, v in model.module.named_parameters() if n not in trainable)


def test_a_parameter_without_a_gradient_is_passed_over():
    model = built("test_vit")
    pull = place_pull(starting_point(model, OPTIM), model.module)
    model.module.blocks[0].mlp.fc1.weight.grad = torch.zeros_like(
        model.module.blocks[0].mlp.fc1.weight
    )
    pull_gradients(pull)
    assert sum(value.grad is not None for value in model.module.parameters()) == 1


def test_starts_follow_the_parameters_memory_layout():
    model = built("test_resnet")
    point = starting_point(model, OPTIM)
    model.module.to(memory_format=torch.channels_last)
    pull = place_pull(point, model.module)
    assert all(v.stride() == s.stride() for v, s in zip(pull.old, pull.starts, strict=True))
    assert all(torch.equal(v, s) for v, s in zip(pull.old, pull.starts, strict=True))


def test_no_value_is_read_to_the_host():
    # Tensors of the meta device hold no values: whatever would read one raises.
    module = nn.Linear(3, 2, device="meta")
    point = StartingPoint(
        strength=1.0,
        new_strength=1.0,
        pretrained={"weight": torch.zeros(2, 3)},
        new=frozenset({"bias"}),
    )
    for value in module.parameters():
        value.grad = torch.ones_like(value)
    pull_gradients(place_pull(point, module))


def test_without_strength_there_is_no_starting_point():
    assert starting_point(built("test_vit"), OptimRecipe()) is None
