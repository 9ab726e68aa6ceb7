"""What a phase does to the rate; torch's LinearLR is the reference of its warm-up."""

import pytest
import torch
from torch.optim.lr_scheduler import LinearLR

from hftune.core import Phase
from hftune.optim.rate import phase_multiplier


def phase(**changes):
    return Phase(**{"start": 10, "stop": 30, "trainable": frozenset("a"), "label": "a"} | changes)


def test_a_plain_phase_changes_nothing():
    assert {phase_multiplier(phase(), step) for step in range(10, 30)} == {1.0}


def test_the_factor_holds_for_the_whole_phase():
    assert {phase_multiplier(phase(lr_factor=0.3), step) for step in range(10, 30)} == {0.3}


def test_warm_up_agrees_with_torch():
    made = phase(lr_factor=0.5, warmup_steps=8)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = LinearLR(optimizer, start_factor=0.01, total_iters=8)
    for step in range(10, 30):
        expected = scheduler.get_last_lr()[0]
        assert phase_multiplier(made, step) == pytest.approx(expected, rel=1e-12)
        optimizer.step()
        scheduler.step()
    assert phase_multiplier(made, 18) == 0.5


@pytest.mark.parametrize("step", [9, 30])
def test_a_step_of_another_phase_is_a_mistake(step):
    with pytest.raises(ValueError, match="not in the phase 10 to 30"):
        phase_multiplier(phase(), step)
