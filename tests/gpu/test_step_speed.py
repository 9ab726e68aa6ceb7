"""What makes a step quick on a device, and what it may change."""

import copy
import logging
import warnings
from dataclasses import replace

import pytest
import torch

from hftune.recipe.schema import Component, OptimRecipe, TrainRecipe, UnfreezeStep
from hftune.train.arithmetic import arithmetic_text, describe_arithmetic, fast_arithmetic
from hftune.train.checkpoint import Memory
from hftune.train.compile_trial import settle_compile, try_compiled
from hftune.train.guides import Guides
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.session import Session, open_session
from hftune.train.step import train_step
from hftune.train.world import join_world, make_accelerator
from tests.drawn import drawn_splits, tiny_model, tiny_recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

CUDA = torch.device("cuda")


def plan_with(model, **recipe: object):
    train = TrainRecipe(length="6 steps", batch_size=8, precision="fp32")
    return make_plan(tiny_recipe(**{"train": train} | recipe), model, drawn_splits(), join_world())


def opened(model, **recipe: object) -> Session:
    plan = plan_with(model, **recipe)
    return open_session(
        make_accelerator(plan.precision), model, plan.phases[0], plan=plan,
        split=drawn_splits().train, memory=Memory(), guides=Guides(),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_a_fused_step_is_the_plain_one(name):
    modules, optim = {}, OptimRecipe(lr=1e-3, method=Component(name=name))
    for mode in ("fused", "plain"):
        model = tiny_model("test_resnet")
        session = opened(model, optim=optim)
        groups = session.optimizer.param_groups
        assert all(group["fused"] for group in groups)
        if mode == "plain":
            for group in groups:
                group.update(fused=False, foreach=False)
        gradients = torch.Generator().manual_seed(0)
        for _ in range(5):
            for value in model.module.parameters():
                drawn = torch.randn(value.shape, generator=gradients).to(CUDA)
                value.grad = torch.empty_like(value).copy_(drawn)
            session.optimizer.step()
        modules[mode] = copy.deepcopy(model.module)
        session.close()
    for one, other in zip(*(modules[mode].parameters() for mode in modules), strict=True):
        # Rounded once in place of twice; the largest weights are near 1.
        assert torch.allclose(one, other, rtol=0, atol=1e-6)


def test_moments_and_counters_go_on_where_they_lie():
    straight, broken = tiny_model("test_vit"), tiny_model("test_vit")
    session = opened(straight)
    for step, batches in enumerate(session.batches(0, 4)):
        train_step(session, batches, step=step)
    session.close()
    session = opened(broken)
    for step, batches in enumerate(session.batches(0, 2)):
        train_step(session, batches, step=step)
    memory = session.close()
    on_disk = {
        name: {entry: value.cpu() for entry, value in state.items()}
        for name, state in memory.moments.items()
    }
    plan = plan_with(broken)
    session = open_session(
        make_accelerator("fp32"), broken, plan.phases[0], plan=plan, split=drawn_splits().train,
        memory=replace(memory, moments=on_disk), guides=Guides(),
    )  # fmt: skip
    state = session.optimizer.state[next(broken.module.parameters())]
    assert all(value.is_cuda for value in state.values())
    for step, batches in enumerate(session.batches(2, 4), start=2):
        train_step(session, batches, step=step)
    session.close()
    for one, other in zip(straight.module.parameters(), broken.module.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)  # some kernels add in another order each time


def test_fp32_is_multiplied_in_tf32_where_the_device_has_it():
    one, other = (torch.randn(512, 512, device=CUDA) for _ in range(2))
    exact = one.double() @ other.double()
    plain = (one @ other - exact).abs().max()
    with fast_arithmetic(CUDA):
        quick = (one @ other - exact).abs().max()
    if describe_arithmetic(CUDA)["tf32"]:
        assert plain < quick < 1.0  # 10 bits of each factor over sums of 512
    else:
        assert quick == plain


def test_a_run_says_once_what_was_set(tmp_path, caplog):
    model = tiny_model("test_resnet")
    with caplog.at_level(logging.INFO):
        train(plan_with(model), model, drawn_splits(), tmp_path)
    said = [one for one in caplog.messages if one.startswith("fp32 products in")]
    assert said == [arithmetic_text(describe_arithmetic(CUDA))]
    assert said[0].endswith("by trying them for each shape")


def test_a_step_waits_for_nothing_but_its_norm():
    session = opened(tiny_model("test_resnet"))
    batches = session.batches(0, 4)
    for step in range(3):  # what is allocated and picked at first may wait
        train_step(session, next(batches), step=step)
    micro_batches = next(batches)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            train_step(session, micro_batches, step=3)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    batches.close()
    session.close()
    waits = [one for one in caught if "synchronizing CUDA operation" in str(one.message)]
    assert waits == []  # the norm comes by an event, which is not among them


@pytest.mark.slow
def test_compiled_steps_are_those_of_plain_code():
    losses = {}
    for mode in ("off", "on"):
        train = TrainRecipe(length="6 steps", batch_size=8, precision="fp32", compile=mode)
        session = opened(tiny_model("test_resnet"), train=train)
        losses[mode] = [
            float(train_step(session, batches, step=step).loss)
            for step, batches in enumerate(session.batches(0, 6))
        ]
        session.close()
    assert losses["on"] == pytest.approx(losses["off"], rel=1e-3, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("trains", [("all",), ("head", "stage.-1")])  # the model; a cut one's rest
def test_a_trial_leaves_the_model_alone_and_a_short_run_tries_nothing(trains):
    model = tiny_model("test_resnet")
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    plan = plan_with(model, unfreeze=(UnfreezeStep(at="0%", train=trains),))
    assert not settle_compile(plan, model, join_world()).compiled
    trial = try_compiled(plan, model, plan.phases[0], device=CUDA, least=0.0)
    assert trial is not None
    assert min(trial.plain, trial.compiled, trial.compilation) > 0
    after = model.module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(value.is_cpu for value in model.module.parameters())
