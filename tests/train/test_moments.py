"""What an optimizer keeps besides tensors like its parameters also survives a checkpoint."""

from dataclasses import replace

import pytest
import torch

from hftune.core import Progress
from hftune.recipe.schema import Component
from hftune.train.checkpoint import Memory, commit_checkpoint, read_checkpoint
from hftune.train.guides import Guides
from hftune.train.plan import make_plan
from hftune.train.session import open_session, restore_moments
from hftune.train.step import train_step
from hftune.train.world import join_world, make_accelerator


def take_steps(plan, model, splits, memory, steps):
    session = open_session(
        make_accelerator("fp32"), model, plan.phases[0], plan=plan, split=splits.train,
        memory=memory, guides=Guides(),
    )  # fmt: skip
    for step, batches in zip(steps, session.batches(steps.start, steps.stop), strict=True):
        train_step(session, batches, step=step)
    return session.close()


@pytest.mark.parametrize(
    "method",
    [
        "adamw",
        "sgd",
        "layer_adaptive",  # counts per parameter, that stay on the CPU
        "lamb",  # a count per group
        "mars",  # counts that are Python's own numbers
        "nadamlegacy",  # a fraction that is a Python number
        "muon",  # a truth value per parameter
        "adafactorbv",  # moments in bfloat16
    ],
)
def test_a_checkpoint_continues_bit_for_bit(
    method, make_recipe, make_tiny_model, make_splits, tmp_path, state_of, assert_equal_states
):
    recipe = make_recipe()
    recipe = replace(recipe, optim=replace(recipe.optim, method=Component(name=method)))
    splits = make_splits()
    straight = make_tiny_model("test_vit")
    plan = make_plan(recipe, straight, splits, join_world())
    take_steps(plan, straight, splits, Memory(), range(6))

    model = make_tiny_model("test_vit")
    memory = take_steps(plan, model, splits, Memory(), range(3))
    path = commit_checkpoint(
        tmp_path, Progress(step=3), module=model.module, memory=memory, plan_digest="d"
    )
    back = read_checkpoint(path)
    take_steps(plan, model, splits, back.memory, range(3, 6))
    assert_equal_states(state_of(model), state_of(straight))


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_goes_on_beside_parameters_that_begin(nesterov):
    """As when a phase unfreezes a layer: the fused step wants a momentum of all or of none."""

    def stepped(*, fused):
        torch.manual_seed(0)
        weights = [torch.nn.Parameter(torch.randn(3)) for _ in range(2)]
        group = {"params": weights, "names": ["old", "new"], "label": "all"}
        optimizer = torch.optim.SGD([group], lr=0.1, momentum=0.9, nesterov=nesterov, fused=fused)
        restore_moments(optimizer, Memory(moments={"old": {"momentum_buffer": torch.ones(3)}}))
        for weight in weights:
            weight.grad = torch.randn(3)
        optimizer.step()
        return torch.cat([*weights, *(optimizer.state[w]["momentum_buffer"] for w in weights)])

    torch.testing.assert_close(stepped(fused=True), stepped(fused=False), rtol=0, atol=1e-7)
