"""A pass leaves modes, buffers and random state behind as they were, also where it fails."""

import pytest
import torch
from torch import nn

from hftune.model.as_it_was import as_it_was

CPU = torch.device("cpu")


@pytest.fixture
def module() -> nn.Module:
    """A module with live statistics and one with statistics that stand still."""
    module = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5), nn.BatchNorm1d(2))
    module[2].eval()
    return module


def test_modes_buffers_and_random_state_are_put_back(module):
    buffers = list(module.buffers())
    before = [buffer.clone() for buffer in buffers]
    drawn = torch.get_rng_state()
    with as_it_was(module, CPU):
        module(torch.randn(4, 2))
        module.eval()
        assert not torch.equal(module[0].running_mean, before[0])
        assert not torch.equal(torch.get_rng_state(), drawn)
    assert [part.training for part in module.modules()] == [True, True, True, False]
    assert all(torch.equal(*pair) for pair in zip(module.buffers(), before, strict=True))
    assert all(one is other for one, other in zip(module.buffers(), buffers, strict=True))
    assert torch.equal(torch.get_rng_state(), drawn)


def test_they_are_put_back_after_an_error(module):
    mean = module[0].running_mean.clone()
    too_wide = nn.Sequential(module, nn.Linear(3, 1))  # fails once the statistics have moved
    with pytest.raises(RuntimeError), as_it_was(module, CPU):
        too_wide(torch.randn(4, 2))
    assert torch.equal(module[0].running_mean, mean)
