"""Activations in place: what training computes stays the same, with fewer copies."""

import copy

import pytest
import timm
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from hftune.model.in_place import avoid_copies

COPIED_FIRST = (nn.ReLU6, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Mish, nn.SiLU)


def gradients(module):
    """Give the output and all gradients of one pass, and how often a tensor was copied."""
    torch.manual_seed(0)
    inputs = torch.randn(4, 3, 32, 32)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        output = module.train()(inputs)
        output.square().sum().backward()
    copies = sum(event.name == "aten::clone" for event in recorded.events())
    return [output, *(value.grad for value in module.parameters())], copies


def after_convolution(activation):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), activation, nn.Conv2d(4, 4, 3))


@pytest.mark.parametrize("activation", COPIED_FIRST)
def test_one_copy_less_and_the_same_values(activation):
    module = after_convolution(activation(inplace=True))
    other = copy.deepcopy(module)
    avoid_copies(other)
    assert not other[2].inplace
    (before, copies), (after, fewer) = gradients(module), gradients(other)
    assert fewer == copies - 1
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, nn.ELU])
def test_those_that_copy_nothing_stay_in_place(activation):
    module = after_convolution(activation(inplace=True))
    copies = gradients(module)[1]
    avoid_copies(module)
    assert module[2].inplace
    module[2].inplace = False
    assert gradients(copy.deepcopy(module))[1] == copies


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "mobilenetv3_small_050"])
def test_a_backbone_computes_the_same(name):
    torch.manual_seed(0)
    module = timm.create_model(name, num_classes=3)
    other = copy.deepcopy(module)
    avoid_copies(other)
    assert other.state_dict().keys() == module.state_dict().keys()
    before, after = gradients(module)[0], gradients(other)[0]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
