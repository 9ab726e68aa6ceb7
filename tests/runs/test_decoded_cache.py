"""A run that decodes every image, one that fills the cache, and one that finds it full."""

import pytest
import torch

from hftune.cache_folders import list_entries
from hftune.data.cached_rows import CachedRows
from hftune.data.rows import PartRows
from hftune.finetune import as_loaded, prepare
from hftune.recipe import load_recipe
from hftune.train.loop import train
from hftune.train.run_folder import write_run_facts

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HFTUNE_CACHE", str(tmp_path / "cache"))


def weights_of(folder, recipe):
    """Train for two epochs of four steps and give the weights."""
    prepared = prepare(recipe)
    write_run_facts(folder, prepared.plan, prepared.model, prepared.splits, world=prepared.world)
    train(prepared.plan, prepared.model, as_loaded(prepared), folder)
    return prepared.model.module.state_dict()


@pytest.mark.chaos  # three runs; what they are trained on is compared in every run of the tests
def test_the_cache_moves_no_weight(write_recipe, tmp_path):
    path, length = write_recipe("test_resnet"), "train.length=2 epochs"
    without = load_recipe(path, overrides=["data.decoded_cache=0 GiB", length])
    plain = weights_of(tmp_path / "plain", without)
    assert list_entries("images") == []
    for name in ("filling", "full"):
        workers = f"data.workers={int(name == 'filling')}"
        recipe = load_recipe(path, overrides=[length, workers])
        found = weights_of(tmp_path / name, recipe)
        assert found.keys() == plain.keys()
        assert all(torch.equal(found[key], plain[key]) for key in plain)
        loaded = as_loaded(prepare(recipe))
        for split in (loaded.train, loaded.val):
            assert isinstance(split.rows, CachedRows)
            assert all(split.rows.cache.get(row) is not None for row in range(len(split)))


def test_a_single_epoch_keeps_nothing(write_recipe):
    recipe = load_recipe(write_recipe(), overrides=["train.length=1 epoch"])
    loaded = as_loaded(prepare(recipe))
    assert isinstance(loaded.train.rows, PartRows)
    assert list_entries("images") == []


def test_drafts_are_for_training_images_only(write_recipe):
    prepared = prepare(load_recipe(write_recipe(), overrides=["data.decoder=draft"]))
    loaded = as_loaded(prepared)
    assert loaded.train.rows.rows.draft == 3 * 32
    assert loaded.val.rows.rows.draft is None
    assert loaded.test.rows.draft is None
    assert loaded.train.digest != prepared.splits.train.digest
    assert loaded.val.digest == prepared.splits.val.digest
