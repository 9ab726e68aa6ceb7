"""Steps that a device skips by itself: queued before the host knows, and the same steps."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from hftune.recipe.schema import Component, OptimRecipe, TrainRecipe
from hftune.train.checkpoint import Memory
from hftune.train.early_step import can_skip, step_early
from hftune.train.guides import Guides
from hftune.train.plan import make_plan
from hftune.train.session import Session, open_session
from hftune.train.step import BadStep, train_step
from hftune.train.world import join_world, make_accelerator
from tests.drawn import drawn_splits, tiny_model, tiny_recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

CYCLES = 2_000_000_000  # about a second of a device's time


class Watched(torch.optim.AdamW):
    """AdamW under another name, whose steps wait for the host."""


def opened(method: str, **options: object) -> Session:
    model, splits = tiny_model("test_vit"), drawn_splits()
    recipe = tiny_recipe(
        optim=OptimRecipe(lr=1e-3, clip_norm=0.1, method=Component(name=method, options=options)),
        train=TrainRecipe(length="6 steps", batch_size=8, precision="fp32"),
    )
    plan = make_plan(recipe, model, splits, join_world())
    return open_session(
        make_accelerator("fp32"), model, plan.phases[0], plan=plan, split=splits.train,
        memory=Memory(), guides=Guides(),
    )  # fmt: skip


def stepped(session: Session, number: int) -> list[torch.Tensor]:
    norms = [
        train_step(session, batches, step=step).grad_norm
        for step, batches in enumerate(session.batches(0, number))
    ]
    assert all(norm > 0 for norm in norms)
    weights = [value.detach().clone() for value in session.module.parameters()]
    session.close()
    return weights


def test_the_host_waits_for_the_norm_alone():
    weight = nn.Parameter(torch.ones(64, device="cuda"))
    optimizer = torch.optim.AdamW([weight], fused=True)
    weight.grad = torch.ones_like(weight)
    step_early(optimizer, nn.utils.get_total_norm([weight.grad]))  # loads what is used
    torch.cuda.synchronize()
    stream, busy = torch.cuda.current_stream(), []
    optimizer.register_step_pre_hook(lambda *_: busy.append(not stream.query()))
    optimizer.register_step_post_hook(lambda *_: torch.cuda._sleep(CYCLES))
    torch.cuda._sleep(CYCLES)
    assert step_early(optimizer, nn.utils.get_total_norm([weight.grad])) == 8.0
    assert busy == [True]  # the step was queued while its norm was still to come
    assert not stream.query()  # and the host went on before what came behind it was done


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_a_step_is_the_plain_one_or_none(name):
    session = opened(name)
    optimizer = session.optimizer.optimizer
    assert can_skip(optimizer)
    drawn = torch.Generator("cuda").manual_seed(0)
    for spoilt in (True, False, True, False):
        for value in session.module.parameters():
            value.grad = torch.empty_like(value).normal_(generator=drawn)
        before = [value.detach().clone() for value in session.module.parameters()]
        moments = session.memory().moments
        kept = {(n, e): v.clone() for n, state in moments.items() for e, v in state.items()}
        norm = torch.full((), torch.nan if spoilt else 1.0, device="cuda")
        step_early(optimizer, norm)
        moved = [
            not torch.equal(one, other)
            for one, other in zip(before, session.module.parameters(), strict=True)
        ]
        assert not any(moved) if spoilt else any(moved)
        if spoilt:
            after = session.memory().moments
            assert {(n, e) for n, state in after.items() for e in state} == kept.keys()
            assert all(torch.equal(after[n][e], value) for (n, e), value in kept.items())
    session.close()


def test_whole_steps_are_those_that_wait_for_the_host():
    waiting = opened("adamw")
    waiting.optimizer.optimizer.__class__ = Watched
    assert not can_skip(waiting.optimizer.optimizer)
    for one, other in zip(stepped(opened("adamw"), 5), stepped(waiting, 5), strict=True):
        assert torch.allclose(one, other, atol=1e-6)  # some kernels add in another order each time


@pytest.mark.parametrize("step", [0, 1])
def test_a_bad_batch_moves_no_weight(step):
    session = opened("sgd")
    batches = session.batches(0, 2)
    for number in range(step):
        train_step(session, next(batches), step=number)
    good = next(batches)
    spoilt = [replace(one, inputs=one.inputs.float() * torch.nan) for one in good]
    before = [value.detach().clone() for value in session.module.parameters()]
    with pytest.raises(BadStep):
        train_step(session, spoilt, step=step)
    after = list(session.module.parameters())
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(value.grad is None for value in after)
    train_step(session, good, step=step)
    assert not all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    batches.close()
    session.close()
