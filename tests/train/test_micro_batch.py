"""`micro_batch_size: auto`: the largest that fits, whatever says what fits."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hftune.data.mix import check_mix
from hftune.errors import MemoryShortError, RunFolderError
from hftune.files import write_json
from hftune.recipe.schema import EvalRecipe, MixRecipe, TrainRecipe
from hftune.train import micro_batch
from hftune.train.evaluate import images_at_once, make_judge
from hftune.train.machine_memory import DeviceMemory
from hftune.train.memory import estimate_memory
from hftune.train.micro_batch import (
    fit_micro_batch,
    largest_that_fits,
    settled_micro_batch,
    with_micro_batch,
)
from hftune.train.plan import make_plan, micro_batch_sizes, plan_to_json
from hftune.train.world import join_world, make_accelerator
from tests.drawn import LABELS, drawn_splits, tiny_model, tiny_recipe

AUTO = TrainRecipe(length="3 epochs", batch_size=24, micro_batch_size="auto", precision="fp32")


def planned(model, **recipe):
    return make_plan(tiny_recipe(**{"train": AUTO} | recipe), model, drawn_splits(), join_world())


@given(
    sizes=st.sets(st.integers(1, 1000), min_size=1, max_size=40).map(sorted),
    most=st.integers(0, 1100),
)
def test_bisection_finds_what_trying_all_would(sizes, most):
    tried = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= most

    expected = max((size for size in sizes if size <= most), default=0)
    assert largest_that_fits(sizes, fits) == expected
    assert len(tried) == len(set(tried)) <= math.floor(math.log2(len(sizes))) + 1


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_sizes_fill_the_batch_evenly(world_size):
    sizes = micro_batch_sizes(24, world_size)
    assert sizes == [n for n in range(1, 25) if 24 % (n * world_size) == 0]


def test_auto_is_the_largest_until_memory_is_asked():
    plan = planned(tiny_model())
    assert (plan.micro_batch_size, plan.accumulation) == (24, 1)


def test_a_recipe_that_states_its_size_is_left_alone():
    model = tiny_model()
    plan = planned(model, train=replace(AUTO, micro_batch_size=4))
    assert fit_micro_batch(plan, model, join_world(), begun=8) is plan


def test_the_size_of_a_machine_follows_its_memory(monkeypatch):
    model = tiny_model()
    plan = planned(model)
    found = {}
    for size in (1, 12):
        needs = max(
            phase.total
            for phase in estimate_memory(with_micro_batch(plan, size), model, torch.device("cpu"))
        )
        memory = DeviceMemory(total=2**40, free=math.ceil(needs / 0.8) + 8, own=0)
        monkeypatch.setattr(micro_batch, "device_memory", lambda _, memory=memory: memory)
        fitted = fit_micro_batch(plan, model, join_world())
        found[size] = fitted.micro_batch_size
        assert fitted.micro_batch_size * fitted.accumulation == plan.batch_size == 24
        assert fitted.digest == plan.digest
    assert found == {1: 1, 12: 12}


def test_where_nothing_fits_the_smallest_size_and_the_memory_are_told(monkeypatch):
    none = DeviceMemory(total=2**30, free=0, own=2**29)
    monkeypatch.setattr(micro_batch, "device_memory", lambda _: none)
    model = tiny_model()
    with pytest.raises(MemoryShortError) as caught:
        fit_micro_batch(planned(model), model, join_world())
    assert caught.value.found == "1 images at once; cpu has 1.0 GiB, 512.0 MiB of them taken by " \
        "this process, 0 B free"  # fmt: skip


def test_estimating_leaves_model_and_random_state_as_they_were():
    model = tiny_model("test_resnet")
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    random = torch.get_rng_state()
    fit_micro_batch(planned(model), model, join_world())
    assert torch.equal(torch.get_rng_state(), random)
    after = model.module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(("begun", "size"), [(24, 24), (12, 12), (8, 8), (5, 4), (100, 24)])
def test_a_run_keeps_to_the_size_that_it_was_begun_with(begun, size, monkeypatch):
    def asked(_):
        raise AssertionError("no memory decides about a run that was begun")

    monkeypatch.setattr(micro_batch, "device_memory", asked)
    model = tiny_model()
    fitted = fit_micro_batch(planned(model), model, join_world(), begun=begun)
    assert fitted.micro_batch_size == size
    assert fitted.accumulation == 24 // size


def test_mixing_pairs_the_images_of_every_size(monkeypatch):
    model = tiny_model()
    data = replace(tiny_recipe().data, mix=MixRecipe(mixup=0.2))
    plan = planned(model, data=data)
    for begun in (1, 3, 9):
        fitted = fit_micro_batch(plan, model, join_world(), begun=begun)
        check_mix(data.mix, micro_batch_size=fitted.micro_batch_size)
        assert fitted.micro_batch_size == {1: 2, 3: 2, 9: 8}[begun]


def test_the_size_is_read_back_from_the_plan_of_a_run(tmp_path):
    assert settled_micro_batch(tmp_path) is None
    model = tiny_model()
    plan = with_micro_batch(planned(model), 6)
    write_json(tmp_path / "plan.json", plan_to_json(plan, model))
    assert settled_micro_batch(tmp_path) == 6


@pytest.mark.parametrize(
    "content", ['{"micro_batch_size": "6"}', "{}", '{"micro_batch_size": 0}', "["]
)
def test_a_damaged_plan_is_refused(content, tmp_path):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(RunFolderError):
        settled_micro_batch(tmp_path)


@pytest.mark.parametrize(
    ("micro", "stated", "on_cpu", "on_gpu"),
    [
        ("auto", None, 32, 128),
        ("auto", 7, 7, 7),
        (None, None, 32, 192),
        (8, None, 8, 16),
        (8, 128, 128, 128),
    ],
)
def test_evaluation_depends_on_the_kind_of_device_alone(micro, stated, on_cpu, on_gpu):
    recipe = tiny_recipe(
        train=TrainRecipe(batch_size=96, micro_batch_size=micro), eval=EvalRecipe(batch_size=stated)
    )
    model = tiny_model()
    judge = make_judge(make_accelerator("fp32"), recipe, model, labels=LABELS)
    assert judge.batch_size == on_cpu
    assert images_at_once(recipe, processes=1, device=torch.device("cuda")) == on_gpu
