"""The mean of ingredients in one module, and its batch-norm statistics."""

from pathlib import Path

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, update_bn

from hftune.model.weights import plain_state, save_weights
from hftune.soup.ingredients import Ingredient
from hftune.soup.kitchen import Kitchen
from hftune.train.batch_norm import statistics_batches
from hftune.train.evaluate import make_judge
from hftune.train.world import make_accelerator
from tests.drawn import drawn_splits, tiny_model, tiny_recipe


@pytest.fixture
def make_kitchen(tmp_path: Path):
    """Give a kitchen over the named modules' weights."""

    def make(architecture, modules):
        recipe, splits, model = tiny_recipe(), drawn_splits(), tiny_model(architecture, seed=9)
        ingredients = {}
        for name, module in modules.items():
            path = tmp_path / f"{name}.safetensors"
            save_weights(plain_state(module), path, metadata={})
            ingredients[name] = Ingredient(
                name=name, path=path, weights=path, digest=name, step=3, recipe=recipe, facts=None
            )
        judge = make_judge(make_accelerator("fp32"), recipe, model, labels=splits.labels)
        return Kitchen(
            ingredients=ingredients, recipe=recipe, splits=splits, judge=judge, module=model.module
        )

    return make


def moved(architecture, seed, *, statistics=False):
    """Give the module of seed 0 with its parameters moved, and its running statistics if asked."""
    module = tiny_model(architecture).module
    torch.manual_seed(seed)
    for value in module.parameters():
        value.data += 0.02 * torch.randn_like(value)
    for name, buffer in module.named_buffers():
        if statistics and "running" in name:
            buffer += torch.rand_like(buffer)
    return module


def test_two_equal_ingredients_give_the_ingredient_bit_for_bit(make_kitchen):
    one = moved("test_resnet", 1, statistics=True)
    kitchen = make_kitchen("test_resnet", {"a": one, "b": one})
    kitchen.mix(("a", "b"))
    for name, value in kitchen.module.state_dict().items():
        assert torch.equal(value, one.state_dict()[name]), name


def test_the_mean_and_its_statistics_are_those_of_torch(make_kitchen):
    members = {name: moved("test_resnet", seed, statistics=True) for seed, name in enumerate("abc")}
    kitchen = make_kitchen("test_resnet", members)
    kitchen.mix(tuple("abc"))
    reference = AveragedModel(members["a"])
    for member in members.values():
        reference.update_parameters(member)
    update_bn(statistics_batches(kitchen.splits.train, kitchen.judge, kitchen.recipe), reference)
    expected = reference.module.state_dict()
    for name, value in kitchen.module.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


def test_statistics_that_are_equal_in_all_members_stay(make_kitchen):
    members = {name: moved("test_resnet", seed) for seed, name in enumerate("ab")}
    kitchen = make_kitchen("test_resnet", members)
    kitchen.mix(("a", "b"))
    before = dict(members["a"].named_buffers())
    for name, buffer in kitchen.module.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_one_ingredient_alone_is_as_it_was_after_any_mixture(make_kitchen):
    members = {name: moved("test_resnet", seed, statistics=True) for seed, name in enumerate("ab")}
    kitchen = make_kitchen("test_resnet", members)
    kitchen.mix(("a", "b"))
    alone = kitchen.judged(("b",))
    for name, value in kitchen.module.state_dict().items():
        assert torch.equal(value, members["b"].state_dict()[name]), name
    assert (alone.split, alone.num_examples) == ("val", 11)  # never the test split
