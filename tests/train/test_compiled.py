"""Compiled steps: the same numbers and names, and stopped like any waiting."""

import signal
from dataclasses import replace

import pytest
import torch
from timm.models import ResNet
from torch._dynamo.exc import TorchDynamoException

from hftune.core import RunPlan
from hftune.errors import DeviceError
from hftune.model.prefix import Rest
from hftune.recipe.schema import CacheRecipe, TrainRecipe, UnfreezeStep
from hftune.train import session
from hftune.train.checkpoint import CHECKPOINTS, Memory, list_checkpoints
from hftune.train.compile_trial import Trial, settle_compile, settled_compile, try_compiled
from hftune.train.compiled import check_compiler, compile_mode, compiler_errors
from hftune.train.guides import Guides
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.run_facts import PLAN_FILE
from hftune.train.session import Session, open_session
from hftune.train.step import train_step
from hftune.train.world import join_world, make_accelerator
from tests.drawn import drawn_splits, tiny_model, tiny_recipe

TRAIN = TrainRecipe(length="3 epochs", batch_size=8, micro_batch_size=4, precision="fp32")


def plan_with(model, **train: object) -> RunPlan:
    recipe = tiny_recipe(train=replace(TRAIN, **train))
    return make_plan(recipe, model, drawn_splits(), join_world())


def opened(model, plan: RunPlan, memory: Memory) -> Session:
    return open_session(
        make_accelerator("fp32"), model, plan.phases[0], plan=plan, split=drawn_splits().train,
        memory=memory, guides=Guides(),
    )  # fmt: skip


def take_steps(model, plan: RunPlan, memory: Memory, steps: range) -> tuple[list[float], Memory]:
    phase = opened(model, plan, memory)
    losses = [
        float(train_step(phase, batches, step=step).loss)
        for step, batches in zip(steps, phase.batches(steps.start, steps.stop), strict=True)
    ]
    return losses, phase.close()


@pytest.fixture
def _only_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the generation of code, which takes a minute: what is traced runs as it is."""
    compiled = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda module, **_: compiled(module, backend="aot_eager", dynamic=False)
    )


@pytest.mark.slow
@pytest.mark.usefixtures("_only_traced")
def test_steps_names_and_statistics_are_those_of_plain_code():
    from torch._dynamo.utils import counters

    models = {mode: tiny_model("test_resnet") for mode in ("off", "on")}
    losses = {}
    for mode, model in models.items():
        losses[mode], _ = take_steps(model, plan_with(model, compile=mode), Memory(), range(3))
        if mode == "on":
            assert counters["stats"]["unique_graphs"] == 1  # before the first step, and once
    assert losses["on"] == pytest.approx(losses["off"], abs=1e-6)  # sums in another order
    plain, traced = (models[mode].module.state_dict() for mode in ("off", "on"))
    assert list(plain) == list(traced)
    for name, value in plain.items():
        assert torch.allclose(traced[name], value, atol=1e-5), name


@pytest.mark.chaos
def test_compiled_steps_go_on_bit_for_bit():
    straight, broken = tiny_model("test_vit"), tiny_model("test_vit")
    plan = plan_with(straight, compile="on")
    take_steps(straight, plan, Memory(), range(4))
    _, memory = take_steps(broken, plan, Memory(), range(2))
    take_steps(broken, plan, memory, range(2, 4))
    other = broken.module.state_dict()
    assert all(torch.equal(value, other[k]) for k, value in straight.module.state_dict().items())


class StopsInstead:
    """In place of a compilation, which takes long enough for a stop to come."""

    is_ready = False

    def __init__(self, *_: object) -> None:
        pass

    def make_ready(self, *_: object) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_a_stop_while_compiling_keeps_a_checkpoint(run, monkeypatch):
    monkeypatch.setattr(session, "Compiled", StopsInstead)
    model = tiny_model("test_vit")
    progress = train(plan_with(model, compile="on"), model, drawn_splits(), run)
    assert progress.step == 0
    assert [path.name for path in list_checkpoints(run / CHECKPOINTS)] == ["step-00000000"]


def test_auto_is_off_on_a_cpu_and_a_run_keeps_what_it_was_begun_with():
    model, world = tiny_model(), join_world()
    plan = plan_with(model)
    assert not plan.compiled
    assert not settle_compile(plan, model, world).compiled
    assert settle_compile(plan, model, world, begun=True).compiled
    assert plan_with(model, compile="on").compiled
    stated = plan_with(model, compile="off")
    assert not settle_compile(stated, model, world, begun=True).compiled


def test_what_a_run_was_begun_with_is_read_from_its_plan(tmp_path):
    assert settled_compile(tmp_path) is None
    (tmp_path / PLAN_FILE).write_text('{"compiled": true}', encoding="utf-8")
    assert settled_compile(tmp_path) is True
    (tmp_path / PLAN_FILE).write_text("{}", encoding="utf-8")
    assert settled_compile(tmp_path) is None


@pytest.mark.parametrize(("features", "part"), [("auto", Rest), ("off", ResNet)])
def test_a_trial_times_what_would_be_compiled(features, part, monkeypatch):
    """Code is not made: what the compiler is given runs as it is."""
    given = []
    monkeypatch.setattr(torch, "compile", lambda module, **_: given.append(module) or module)
    model = tiny_model("test_resnet")
    recipe = tiny_recipe(
        train=replace(TRAIN, cache=CacheRecipe(features=features)),
        unfreeze=(UnfreezeStep(at="0%", train=("head", "stage.-1")),),
    )
    plan = make_plan(recipe, model, drawn_splits(), join_world())
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    drawn = torch.get_rng_state()
    trial = try_compiled(plan, model, plan.phases[0], device=torch.device("cpu"), least=0.0)
    assert trial is not None
    assert [type(one) for one in given] == [part]
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(
        torch.equal(before[name], value) for name, value in model.module.state_dict().items()
    )


def test_what_the_compiler_cannot_do_is_an_error_with_a_remedy():
    with pytest.raises(DeviceError) as caught, compiler_errors():
        raise TorchDynamoException("no graph\nand much more")
    assert caught.value.found == "no graph"
    assert caught.value.remedy == "set train.compile=off"


def test_what_a_run_gains_pays_for_the_compilation_first():
    trial = Trial(plain=0.5, compiled=0.25, compilation=60.0)
    assert trial.gain(1000) == 190.0
    assert trial.gain(100) == -35.0


def test_graphs_are_for_steps_that_nothing_cuts(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    plan = plan_with(tiny_model(), micro_batch_size=8)
    assert compile_mode(plan) == "reduce-overhead"
    assert compile_mode(replace(plan, accumulation=2)) is None
    assert compile_mode(replace(plan, world_size=2)) is None


def test_a_missing_compiler_is_told_before_anything_else(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(DeviceError) as caught:
        plan_with(tiny_model(), compile="on")
    assert caught.value.found == "no no-such-compiler"
    assert caught.value.remedy == "install g++, or set train.compile=off"
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(DeviceError):
        check_compiler(torch.device("cuda"))
