"""The layer-adaptive optimizer against the rule written out in NumPy, one tensor at a time."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from hftune.optim.groups import ParamGroup
from hftune.optim.layer_adaptive import LayerAdaptive
from hftune.optim.optimizers import make_optimizer
from hftune.recipe.schema import Component, OptimRecipe

SHAPES = ((3, 2, 2, 2), (5, 4), (7,), ())


def drawn(seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in SHAPES]


def reference(start, gradients, *, lr, betas, eps, decay):
    """The rule of the docstring for one tensor, in float64."""
    weight = start.numpy().copy()
    mean, square = np.zeros_like(weight), np.zeros_like(weight)
    for count, gradient in enumerate((g.numpy() for g in gradients), start=1):
        mean = betas[0] * mean + (1 - betas[0]) * gradient
        square = betas[1] * square + (1 - betas[1]) * gradient**2
        moment = mean / (1 - betas[0] ** count)
        ratio = np.mean(np.abs(moment) / (np.sqrt(square / (1 - betas[1] ** count)) + eps))
        weight = weight * (1 - lr * decay) - lr * ratio * moment
    return weight


def take_steps(parameters, optimizer, seeds):
    for seed in seeds:
        for parameter, gradient in zip(parameters, drawn(seed, parameters[0].dtype), strict=True):
            parameter.grad = gradient
        optimizer.step()


def make_parameters(dtype=torch.float64):
    return [nn.Parameter(tensor) for tensor in drawn(100, dtype)]


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.5)])
def test_several_steps_agree_with_the_rule_written_out(betas, decay):
    parameters = make_parameters()
    settings = {"lr": 0.05, "betas": betas, "eps": 1e-6}
    take_steps(parameters, LayerAdaptive(parameters, weight_decay=decay, **settings), range(6))
    gradients = zip(*(drawn(seed) for seed in range(6)), strict=True)
    for parameter, start, seen in zip(parameters, drawn(100), gradients, strict=True):
        expected = reference(start, seen, decay=decay, **settings)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-12, atol=1e-15)


def test_two_steps_by_hand():
    # Gradients (3, -4), then (-3, -4), with betas (0.5, 0.5) and no eps to speak of.
    # Step 1: the corrected moments are g and g^2, so r = 1 and w = -lr g.
    # Step 2: m = 0.5 (0.5 g1 + g2) = (-0.75, -3), corrected by 0.75 to (-1, -4); v' = (9, 16);
    # r = (1/3 + 4/4) / 2 = 2/3 and the step is lr 2/3 (-1, -4).
    weight = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = LayerAdaptive([weight], lr=0.1, betas=(0.5, 0.5), eps=1e-15)
    weight.grad = torch.tensor([3.0, -4.0], dtype=torch.float64)
    optimizer.step()
    assert weight.tolist() == pytest.approx([-0.3, 0.4])
    weight.grad = torch.tensor([-3.0, -4.0], dtype=torch.float64)
    optimizer.step()
    assert weight.tolist() == pytest.approx([-0.3 + 0.1 * 2 / 3, 0.4 + 0.4 * 2 / 3])


def test_a_steady_gradient_takes_a_longer_step_than_one_that_turns():
    steady, turning = (nn.Parameter(torch.zeros(4)) for _ in range(2))
    optimizer = LayerAdaptive([steady, turning], lr=0.1)
    for step in range(20):
        steady.grad = torch.ones(4)
        turning.grad = torch.full((4,), (-1.0) ** step)
        optimizer.step()
    torch.testing.assert_close(-steady.detach(), torch.full((4,), 20 * 0.1))
    assert turning.abs().max() < 0.1 * steady.abs().min()


def test_the_ratio_is_of_one_tensor_and_not_of_all():
    alone, beside, other = (nn.Parameter(torch.zeros(3)) for _ in range(3))
    for parameters in ([alone], [beside, other]):
        optimizer = LayerAdaptive(parameters, lr=0.1)
        for step in range(3):
            for position, parameter in enumerate(parameters):
                parameter.grad = torch.full((3,), (-1.0) ** step if position == 0 else 5.0)
            optimizer.step()
    assert torch.equal(alone, beside)


def test_no_gradient_moves_nothing_and_makes_no_number_wrong():
    parameters = make_parameters(torch.float32)
    optimizer = LayerAdaptive(parameters, lr=0.1)
    for _ in range(3):
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    for parameter, start in zip(parameters, drawn(100, torch.float32), strict=True):
        assert torch.equal(parameter, start)


def test_weight_decay_is_decoupled():
    parameters = make_parameters()
    optimizer = LayerAdaptive(parameters, lr=0.1, weight_decay=0.5)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for parameter, start in zip(parameters, drawn(100), strict=True):
        torch.testing.assert_close(parameter.detach(), start * (1 - 0.1 * 0.5))


def test_a_parameter_without_a_gradient_is_left_alone():
    first, second = make_parameters()[:2]
    start = second.detach().clone()
    optimizer = LayerAdaptive([first, second], lr=0.1)
    first.grad = torch.ones_like(first)
    optimizer.step()
    assert torch.equal(second, start)
    assert second not in optimizer.state


def test_a_parameter_that_joins_late_is_corrected_by_its_own_count():
    late = nn.Parameter(torch.zeros(2))
    early = nn.Parameter(torch.zeros(2))
    optimizer = LayerAdaptive([early, late], lr=0.1)
    for step in range(3):
        early.grad = torch.tensor([1.0, -2.0])
        late.grad = torch.tensor([1.0, -2.0]) if step == 2 else None
        optimizer.step()
    # Its first step is that of SGD: lr times the gradient.
    torch.testing.assert_close(late.detach(), torch.tensor([-0.1, 0.2]))


def test_state_dict_continues_bit_for_bit():
    straight = make_parameters(torch.float32)
    take_steps(straight, LayerAdaptive(straight, lr=0.05, weight_decay=0.1), range(6))
    parameters = make_parameters(torch.float32)
    first = LayerAdaptive(parameters, lr=0.05, weight_decay=0.1)
    take_steps(parameters, first, range(3))
    second = LayerAdaptive(parameters, lr=1.0)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for parameter in parameters:
        old, new = first.state[parameter], second.state[parameter]
        assert old.keys() == new.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(old[entry], new[entry]) for entry in old)
    take_steps(parameters, second, range(3, 6))
    assert all(torch.equal(*pair) for pair in zip(parameters, straight, strict=True))


def test_state_follows_the_parameters_memory_layout():
    weight = nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
    optimizer = LayerAdaptive([weight])
    weight.grad = torch.randn_like(weight)
    optimizer.step()
    assert optimizer.state[weight]["exp_avg"].stride() == weight.stride()


def test_a_recipe_names_it_and_groups_bring_rate_and_decay():
    module = nn.Sequential(nn.Linear(2, 1, bias=False))
    nn.init.constant_(module[0].weight, 2.0)
    recipe = OptimRecipe(
        lr=0.1, method=Component(name="layer_adaptive", options={"betas": [0.8, 0.9]})
    )
    group = ParamGroup(label="main", names=("0.weight",), scale=0.5, weight_decay=0.2)
    optimizer = make_optimizer((group,), module, recipe)
    assert isinstance(optimizer, LayerAdaptive)
    assert optimizer.defaults["betas"] == (0.8, 0.9)
    module(torch.tensor([[3.0, -1.0]])).sum().backward()
    optimizer.step()
    # Rate 0.1 * 0.5; decay 2 * (1 - 0.05 * 0.2) = 1.98; then minus 0.05 times the gradient.
    assert module[0].weight[0].tolist() == pytest.approx([1.98 - 0.15, 1.98 + 0.05])


@pytest.mark.parametrize("settings", [{"betas": (0.9, 1.0)}, {"betas": (-0.1, 0.9)}, {"eps": 0.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        LayerAdaptive([nn.Parameter(torch.zeros(1))], **settings)


def test_a_step_reads_no_value_to_the_host():
    # Tensors of the meta device hold no values: whatever would read one raises.
    parameters = [nn.Parameter(tensor.to("meta")) for tensor in drawn(100)]
    optimizer = LayerAdaptive(parameters, weight_decay=0.1)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert [optimizer.state[parameter]["step"].item() for parameter in parameters] == [1] * 4
