"""Kept outputs of a frozen prefix: the same run with and without them, and only where they may."""

import json
import logging
import signal
from dataclasses import replace

import pytest
import torch

from hftune.cache_folders import list_entries, remove_entry
from hftune.recipe.schema import CacheRecipe, Component, DistillRecipe, MixRecipe, UnfreezeStep
from hftune.train import feature_cache, keep_frozen
from hftune.train.feature_store import Store, Wanted
from hftune.train.frozen import frozen_text, settle_views
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.world import join_world
from tests.drawn import damage, drawn_splits, tiny_model, tiny_recipe

HEAD_THEN_STAGE = (
    UnfreezeStep(at="0%", train=("head",)),
    UnfreezeStep(at="50%", train=("head", "stage.-1")),
)
FLIP = (Component(name="horizontal_flip"),)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HFTUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def passes(monkeypatch):
    """Count the batches of images that go through a prefix to be kept."""
    made = []
    run = feature_cache._run
    monkeypatch.setattr(feature_cache, "_run", lambda *given: made.append(1) or run(*given))
    return made


def recipe_of(unfreeze=HEAD_THEN_STAGE[:1], *, augment=(), **cache):
    recipe = tiny_recipe(unfreeze=unfreeze)
    settings = CacheRecipe(**cache)
    return replace(
        recipe,
        data=replace(recipe.data, augment=augment),
        train=replace(recipe.train, length="4 epochs", cache=settings),
    )


def trained(recipe, folder, *, splits=None, architecture="test_resnet"):
    """Train in a folder; give the end's weights and the losses in order."""
    folder.mkdir(exist_ok=True)
    model = tiny_model(architecture, drop_rate=0.2)
    splits = splits or drawn_splits()
    progress = train(make_plan(recipe, model, splits, join_world()), model, splits, folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = {
        kind: [one["loss"] for one in lines if one["kind"] == kind] for kind in ("train", "eval")
    }
    return model.module.state_dict(), losses, progress


def assert_equal(one, other):
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_convnext", "test_vit"])
def test_a_run_over_kept_features_is_the_run_over_images(architecture, tmp_path, passes):
    """Bit for bit in training. Evaluation folds batch norm over images, and so rounds otherwise."""
    kept, losses, _ = trained(
        recipe_of(HEAD_THEN_STAGE), tmp_path / "kept", architecture=architecture
    )
    assert len(passes) == 2 * (3 + 2)  # 24 and 11 images, 8 at once; once per phase
    live, expected, _ = trained(
        recipe_of(HEAD_THEN_STAGE, features="off"), tmp_path / "live", architecture=architecture
    )
    assert_equal(kept, live)
    assert losses["train"] == expected["train"]
    assert losses["eval"] == pytest.approx(expected["eval"], rel=1e-5)


def test_a_second_run_computes_nothing(tmp_path, passes):
    first, _, _ = trained(recipe_of(), tmp_path / "one")
    number = len(passes)
    assert number > 0
    again, _, _ = trained(recipe_of(), tmp_path / "two")
    assert len(passes) == number
    assert_equal(first, again)


def test_the_gain_is_tried_out_only_where_nothing_is_there(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(keep_frozen, "_pays", lambda *_: tried.append(1) or True)
    for folder in ("one", "again"):
        trained(recipe_of(), tmp_path / folder)
    assert len(tried) == 1
    one, _ = list_entries("features")  # of training and of validation
    remove_entry(one)
    trained(recipe_of(), tmp_path / "in part")
    assert len(tried) == 1
    for entry in list_entries("features"):
        remove_entry(entry)
    trained(recipe_of(), tmp_path / "anew")
    assert len(tried) == 2


def test_what_decides_a_feature_is_part_of_its_key(tmp_path, passes):
    trained(recipe_of(), tmp_path / "one")
    number = len(passes)
    trained(recipe_of(), tmp_path / "other", splits=drawn_splits(train=25))
    assert len(passes) == number + 4  # 25 training images; those of validation are the same


def test_a_stop_while_features_are_made_keeps_a_checkpoint_and_goes_on(tmp_path, monkeypatch):
    undisturbed, _, _ = trained(recipe_of(features="off"), tmp_path / "undisturbed")
    run = feature_cache._run
    sent = []

    def stop(*given):
        if not sent:
            sent.append(1)
            signal.raise_signal(signal.SIGTERM)
        return run(*given)

    monkeypatch.setattr(feature_cache, "_run", stop)
    _, _, progress = trained(recipe_of(), tmp_path / "stopped")
    assert progress.step == 0
    assert (tmp_path / "stopped" / "checkpoints" / "step-00000000").is_dir()
    resumed, _, progress = trained(recipe_of(), tmp_path / "stopped")
    assert progress.step == 12
    assert_equal(resumed, undisturbed)


@pytest.mark.parametrize("stop", [2, 8])
def test_a_run_that_goes_on_in_a_phase_equals_one_that_was_not_stopped(stop, tmp_path, stop_after):
    undisturbed, _, _ = trained(recipe_of(HEAD_THEN_STAGE), tmp_path / "undisturbed")
    stop_after(stop)
    _, _, progress = trained(recipe_of(HEAD_THEN_STAGE), tmp_path / "run")
    assert progress.step == stop
    resumed, _, _ = trained(recipe_of(HEAD_THEN_STAGE), tmp_path / "run")
    assert_equal(resumed, undisturbed)


def test_the_last_evaluation_after_a_stop_is_over_kept_features_as_well(
    tmp_path, stop_after, caplog
):
    _, undisturbed, _ = trained(recipe_of(), tmp_path / "undisturbed")
    stop_after(10)
    trained(recipe_of(), tmp_path / "run")
    with caplog.at_level(logging.INFO):
        _, resumed, progress = trained(recipe_of(), tmp_path / "run")
    assert progress.step == 12
    assert "for 11 val images: 4.1 KiB, in memory, 0 of 1 parts made now" in caplog.text
    assert resumed == undisturbed


def test_with_augmentation_nothing_is_kept_of_the_training_images(tmp_path, passes, caplog):
    with caplog.at_level(logging.INFO):
        kept, _, _ = trained(recipe_of(augment=FLIP), tmp_path / "kept")
    assert "images are augmented anew in every epoch" in caplog.text
    assert len(passes) == 2  # validation
    live, _, _ = trained(recipe_of(augment=FLIP, features="off"), tmp_path / "live")
    assert_equal(kept, live)


def test_as_many_views_as_epochs_are_the_run_over_images(tmp_path, passes):
    kept, _, _ = trained(recipe_of(augment=FLIP, views=4, features="on"), tmp_path / "kept")
    assert len(passes) == 4 * 3 + 2
    live, _, _ = trained(recipe_of(augment=FLIP, features="off"), tmp_path / "live")
    assert_equal(kept, live)


def test_views_mean_the_same_where_they_cannot_be_kept(tmp_path, passes, caplog):
    kept, _, _ = trained(recipe_of(augment=FLIP, views=2), tmp_path / "kept")
    assert len(passes) == 2 * 3 + 2
    small = recipe_of(augment=FLIP, views=2, memory="1 KiB", disk="1 KiB")
    with caplog.at_level(logging.INFO):
        live, _, _ = trained(small, tmp_path / "live", splits=drawn_splits())
    assert_equal(kept, live)
    other, _, _ = trained(recipe_of(augment=FLIP, views=1), tmp_path / "one")
    assert not torch.equal(other["fc.weight"], kept["fc.weight"])


def test_what_fits_nowhere_is_not_kept_and_the_line_says_why(tmp_path, passes, caplog):
    with caplog.at_level(logging.INFO):
        trained(recipe_of(memory="1 KiB", disk="1 KiB"), tmp_path / "run")
    assert passes == []
    assert (
        "outputs of global_pool for 24 train images are not kept: they take 9.0 KiB; "
        "train.cache.memory gives 1.0 KiB, and train.cache.disk, 1 KiB, has no room" in caplog.text
    )


def test_without_room_on_the_disk_memory_alone_is_enough(tmp_path, passes):
    live, _, _ = trained(recipe_of(features="off"), tmp_path / "live")
    kept, _, _ = trained(recipe_of(disk="1 KiB"), tmp_path / "kept")
    assert len(passes) == 5
    assert list_entries("features") == []
    assert_equal(kept, live)


def test_mapped_features_are_those_in_memory(tmp_path):
    live, _, _ = trained(recipe_of(features="off"), tmp_path / "live")
    kept, _, _ = trained(recipe_of(memory="1 B"), tmp_path / "kept")
    assert_equal(kept, live)


def test_bf16_rounds_the_features_and_no_more(tmp_path):
    """bf16 has 8 bits: features move by up to 2 ** -9 of themselves, and losses by about that."""
    _, exact, _ = trained(recipe_of(features="off"), tmp_path / "live")
    _, rounded, _ = trained(recipe_of(dtype="bf16"), tmp_path / "kept")
    assert rounded["train"] != exact["train"]
    assert rounded["train"] == pytest.approx(exact["train"], rel=0.01)


def test_an_image_that_went_bad_leaves_training_to_the_images(tmp_path, caplog):
    splits = drawn_splits()
    bad = replace(splits, train=damage(splits.train, {3}))
    recipe = recipe_of()
    recipe = replace(recipe, data=replace(recipe.data, on_bad_image="skip"))
    with caplog.at_level(logging.INFO):
        kept, _, _ = trained(recipe, tmp_path / "kept", splits=bad)
    assert "for 24 train images are not kept: this image cannot be read" in caplog.text
    off = replace(recipe, train=replace(recipe.train, cache=CacheRecipe(features="off")))
    live, _, _ = trained(off, tmp_path / "live", splits=bad)
    assert_equal(kept, live)


@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_accumulation_averages_and_balance_go_with_kept_features(balance, tmp_path):
    recipe = recipe_of()
    recipe = replace(
        recipe,
        data=replace(recipe.data, balance=balance),
        optim=replace(recipe.optim, ema=0.9),
        train=replace(recipe.train, micro_batch_size=2),
    )
    off = replace(recipe, train=replace(recipe.train, cache=CacheRecipe(features="off")))
    kept, losses, _ = trained(recipe, tmp_path / "kept")
    live, expected, _ = trained(off, tmp_path / "live")
    assert_equal(kept, live)
    assert losses["eval"] == pytest.approx(expected["eval"], rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mix": MixRecipe(mixup=0.2)}, "mixup and CutMix"),
        ({"augment": (Component(name="own:flip"),)}, "an augmentation of one's own"),
        ({"augment": FLIP}, "train.cache.views is not set"),
        ({"augment": (Component(name="resize"),)}, None),
        ({"augment": (Component(name="horizontal_flip", options={"p": 1}),)}, None),
    ],
)
def test_the_reason_why_training_images_are_not_kept(changes, reason):
    recipe = recipe_of()
    _, found = settle_views(replace(recipe, data=replace(recipe.data, **changes)))
    assert (found is None) == (reason is None)
    assert reason is None or reason in found


def test_a_teacher_needs_the_images():
    _, reason = settle_views(replace(recipe_of(), distill=DistillRecipe(teacher="x")))
    assert reason == "the teacher looks at the images themselves"


WANTED = Wanted(
    key="k" * 64, num_rows=300, width=2, dtype=torch.float32, batch_size=8, says="rows of a test"
)


def fill(store):
    for shard in store.missing():
        places = torch.tensor(WANTED.rows_of(shard), dtype=torch.float32)
        store.put(shard, torch.stack([places, -places], dim=1))


@pytest.mark.parametrize("memory", [0, 2**20])
def test_rows_come_back_from_every_shard(memory):
    with Store(WANTED) as store:
        assert store.missing() == [0, 1, 2]
        fill(store)
        rows = store.rows(memory=memory)
    index = torch.tensor([299, 0, 128, 127, 0])
    assert rows.take(index).tolist() == [[place, -place] for place in index.tolist()]


def test_finished_shards_are_found_again_and_damaged_ones_are_made_anew():
    with Store(WANTED) as store:
        fill(store)
    entries = {entry.key: entry for entry in list_entries("features")}
    path = entries[f"{'k' * 32}-001"].folder / "rows.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with Store(WANTED) as store:
        assert store.missing() == [1]
        fill(store)
        assert store.rows(memory=0).take(torch.tensor([255])).tolist() == [[255.0, -255.0]]


def test_shards_in_use_stay_when_others_need_room():
    other = replace(WANTED, key="o" * 64)
    with Store(WANTED) as store:
        fill(store)
        taken = sum(entry.num_bytes for entry in list_entries("features"))
        limit = taken + other.num_bytes - 1
        with Store(other) as waiting:
            assert not waiting.make_room(limit)
        assert len(list_entries("features")) == 3
    with Store(other) as waiting:
        assert waiting.make_room(limit)
    assert len(list_entries("features")) == 2


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        (recipe_of(), "run once per image while 'head' trains, as far as it saves time and fits"),
        (recipe_of(augment=FLIP, views=2), "run once per image while 'head' trains, 2 augmented"),
        (recipe_of(augment=FLIP), "run in every epoch while 'head' trains: images are augmented"),
        (recipe_of(features="off"), "run in every epoch while 'head' trains: train.cache.features"),
    ],
)
def test_the_plan_says_what_becomes_of_frozen_layers(recipe, text):
    model, splits = tiny_model("test_resnet"), drawn_splits()
    assert frozen_text(make_plan(recipe, model, splits, join_world())).startswith(text)
