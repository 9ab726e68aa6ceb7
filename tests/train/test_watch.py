"""Listening to a model changes none of its values, whatever its layers do in place."""

import pytest
import torch
from torch import nn

from hftune.train.watch import Watch, extent
from tests.drawn import SIZE, tiny_model


def gradients(module: nn.Module, inputs: torch.Tensor) -> list[torch.Tensor]:
    torch.manual_seed(1)
    loss = module(inputs).square().sum()
    return list(torch.autograd.grad(loss, list(module.parameters())))


@pytest.mark.parametrize(
    "architecture",
    ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_nfnet", "test_byobnet"],
)
def test_gradients_are_the_same_bits_and_no_hook_is_left(architecture):
    module = tiny_model(architecture, drop_rate=0.1).module.train()
    inputs = torch.randn(2, 3, SIZE, SIZE)
    alone = gradients(module, inputs)
    with Watch(module) as watch:
        heard = gradients(module, inputs)
    assert all(torch.equal(one, other) for one, other in zip(alone, heard, strict=True))
    assert watch.fault is None
    assert watch.backward_fault([]) is None
    assert watch.first_bad_gradient() is None
    assert watch.peak.value > 0
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_a_module_that_spoils_its_input_in_place_is_named():
    class Spoils(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mul_(torch.inf)

    module = nn.Sequential(nn.Linear(2, 2), Spoils(), nn.Linear(2, 1))
    with Watch(module) as watch:
        module(torch.ones(1, 2))
    assert watch.fault is not None
    assert watch.fault.place == "1 (Spoils)"
    assert watch.fault.before.place == "0 (Linear)"
    assert watch.fault.inputs == watch.fault.before.value


def test_the_first_of_several_is_named():
    steep = nn.Linear(1, 1, bias=False)
    steep.weight.data.fill_(3e38)
    module = nn.Sequential(nn.Identity(), steep, nn.Sequential(steep, nn.ReLU()))
    with Watch(module) as watch:
        module(torch.full((1, 1), 10.0))
    assert watch.fault is not None
    assert (watch.fault.place, watch.fault.inputs) == ("1 (Linear)", 10.0)
    assert (watch.fault.before.value, watch.fault.before.place) == (10.0, "0 (Identity)")


@pytest.mark.parametrize(
    ("value", "is_finite", "largest", "rows"),
    [
        (torch.tensor([[1.0, -3.0], [2.0, 0.0]]), True, 3.0, ()),
        (torch.tensor([[1.0, -3.0], [2.0, torch.nan]]), False, 3.0, (1,)),
        (torch.tensor([torch.inf, 5.0, -torch.inf]), False, 5.0, (0, 2)),
        (torch.tensor(torch.nan), False, 0.0, ()),
        (torch.zeros(0, 3), True, 0.0, ()),
        (torch.tensor([1, 2]), True, 0.0, ()),
        ((torch.ones(1), [torch.full((2,), -7.0)], "text"), True, 7.0, ()),
    ],
)
def test_extents_by_hand(value, is_finite, largest, rows):
    found = extent(value)
    assert (found.is_finite, found.largest, found.rows) == (is_finite, largest, rows)
