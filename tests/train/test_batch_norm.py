"""Batch-norm statistics for averaged weights: those of torch, on the layers that were live."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.swa_utils import update_bn

from hftune.core import Phase
from hftune.recipe.schema import Component, DataRecipe, TrainRecipe
from hftune.train.batch_norm import (
    live_batch_norm,
    recompute_batch_norm,
    settle_batching,
    statistics_batches,
)
from hftune.train.evaluate import make_judge
from hftune.train.world import make_accelerator
from tests.drawn import LABELS, tiny_recipe

# float64 sums of float32 batch statistics against torch's running mean of them in float32.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def accelerator():
    return make_accelerator("fp32")


def batch_norm_names(module):
    return frozenset(n for n, m in module.named_modules() if isinstance(m, nn.BatchNorm2d))


def statistics(module):
    return {n: b.clone() for n, b in module.named_buffers() if "running" in n}


def some_batches(number=5, size=6):
    torch.manual_seed(1)
    return [torch.randn(size, 3, 32, 32) * (1 + part) + part for part in range(number)]


@pytest.mark.parametrize("architecture", ["test_resnet", "test_efficientnet"])
def test_the_statistics_are_those_of_torch(architecture, make_tiny_model, accelerator):
    mine = make_tiny_model(architecture).module
    reference = copy.deepcopy(mine)
    batches = some_batches()
    update_bn(batches, reference)
    assert recompute_batch_norm(
        mine, iter(batches), layers=batch_norm_names(mine), accelerator=accelerator
    )
    expected = statistics(reference)
    assert expected
    for name, value in statistics(mine).items():
        torch.testing.assert_close(value, expected[name], **TOLERANCE)
    counts = {int(b) for n, b in mine.named_buffers() if n.endswith("num_batches_tracked")}
    assert counts == {5}


def test_the_numbers_by_hand(accelerator):
    module = nn.BatchNorm1d(1, momentum=0.3)
    module.running_mean.fill_(torch.nan)  # whatever was there does not matter
    batches = [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [10.0]])]
    recompute_batch_norm(module, iter(batches), layers=frozenset({""}), accelerator=accelerator)
    assert float(module.running_mean) == 4.0  # of 1 and 7
    assert float(module.running_var) == 10.0  # of 2 and 18, both with n - 1
    assert module.momentum == 0.3
    assert not module.training


def test_parameters_do_not_move_and_a_round_without_images_counts_for_nothing(
    make_tiny_model, accelerator
):
    mine = make_tiny_model("test_resnet").module
    other = copy.deepcopy(mine)
    before = {name: value.clone() for name, value in mine.named_parameters()}
    names = batch_norm_names(mine)
    batches = some_batches(3)
    recompute_batch_norm(mine, iter(batches), layers=names, accelerator=accelerator)
    recompute_batch_norm(other, iter([*batches, None]), layers=names, accelerator=accelerator)
    for name, value in mine.named_parameters():
        assert torch.equal(value, before[name])
    for name, value in statistics(mine).items():
        assert torch.equal(value, statistics(other)[name])


def test_dropout_is_off(make_tiny_model, accelerator):
    plain = make_tiny_model("test_resnet").module
    dropping = make_tiny_model("test_resnet", drop_rate=0.5, drop_path_rate=0.5).module
    dropping.load_state_dict(plain.state_dict())
    for module in (plain, dropping):
        recompute_batch_norm(
            module, iter(some_batches()), layers=batch_norm_names(module), accelerator=accelerator
        )
    for name, value in statistics(plain).items():
        assert torch.equal(value, statistics(dropping)[name])


def test_a_layer_that_was_not_live_keeps_its_statistics(make_tiny_model, accelerator):
    mine = make_tiny_model("test_resnet").module
    before = {name: buffer.clone() for name, buffer in mine.named_buffers()}
    recompute_batch_norm(
        mine, iter(some_batches()), layers=frozenset({"layer4.0.bn1"}), accelerator=accelerator
    )
    changed = [n for n, b in mine.named_buffers() if not torch.equal(b, before[n])]
    assert sorted(changed) == [
        f"layer4.0.bn1.{part}" for part in ("num_batches_tracked", "running_mean", "running_var")
    ]


def phases(model, *selections):
    names = [name for name, _ in model.module.named_parameters()]
    return [
        Phase(
            start=position,
            stop=position + 1,
            trainable=frozenset(n for n in names if n.startswith(prefix)),
            label=str(prefix),
        )
        for position, prefix in enumerate(selections)
    ]


def test_live_layers_follow_the_policy(make_tiny_model):
    model = make_tiny_model("test_resnet")
    every = batch_norm_names(model.module)

    def live(policy, *selections):
        ran = phases(model, *selections)
        return live_batch_norm(model.module, model.layers, ran, policy=policy)

    assert live("statistics", "fc") == frozenset()
    assert live("train", "fc") == every
    assert live("statistics", "") == live("all", "") == every
    last = frozenset(name for name in every if name.startswith("layer4"))
    assert live("statistics", "fc", "layer4") == last
    assert live("statistics", "layer4", "fc") == last  # moved in one phase is moved
    assert not model.module.training


def test_a_family_without_running_statistics_has_no_live_layers(make_tiny_model):
    model = make_tiny_model("test_vit")
    ran = phases(model, "")
    assert live_batch_norm(model.module, model.layers, ran, policy="train") == frozenset()


@settings(max_examples=100, deadline=None)
@given(rows=st.integers(2, 3000), batch=st.integers(2, 300), micro=st.none() | st.integers(2, 99))
def test_batches_are_equal_and_leave_little_out(rows, batch, micro):
    recipe = tiny_recipe(train=TrainRecipe(batch_size=batch, micro_batch_size=micro))
    found = settle_batching(rows, recipe)
    left = rows - found.size * found.number
    assert 0 <= left < found.number
    assert 1 <= found.size <= min(rows, micro or min(batch, 64))


def test_the_images_are_the_training_split_as_augmented(make_splits, make_tiny_model, accelerator):
    recipe = tiny_recipe(
        data=DataRecipe(
            source=Component(name="image_folder", options={"path": "x"}),
            augment=(Component(name="horizontal_flip", options={"p": 1.0}),),
            workers=0,
        )
    )
    splits, model = make_splits(train=22), make_tiny_model()
    judge = make_judge(accelerator, recipe, model, labels=LABELS)
    batches = [b for b in statistics_batches(splits.train, judge, recipe) if b is not None]
    assert [len(batch) for batch in batches] == [7, 7, 7]
    again = [b for b in statistics_batches(splits.train, judge, recipe) if b is not None]
    assert all(torch.equal(one, other) for one, other in zip(batches, again, strict=True))
    seen = {row.numpy().tobytes() for batch in batches for row in batch}
    assert len(seen) == 21  # each image at most once
    flipped = {_flipped(splits.train, row).tobytes() for row in range(22)}
    assert seen < flipped


def _flipped(split, row):
    pixels = np.array(split.rows.image(row))[:, ::-1].transpose(2, 0, 1)
    return ((torch.from_numpy(pixels.copy()).float() / 255 - 0.5) / 0.5).numpy()
