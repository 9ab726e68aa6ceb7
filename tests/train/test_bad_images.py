"""What a run tells of images that went bad: once each in the log, counted, listed, all the same."""

import json
import logging
from dataclasses import replace

import pytest
import torch

from hftune.core import BadImage, Batch
from hftune.data.order import make_order, step_rows
from hftune.errors import DataError, RunFolderError
from hftune.recipe.schema import Component, DataRecipe, EvalRecipe, TrainRecipe
from hftune.train.bad_images import QUARANTINE_FILE, BadImages
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.results import judge_best
from hftune.train.run_folder import check_same_data, write_run_facts
from hftune.train.world import join_world
from tests.drawn import damage

SOURCE = Component(name="image_folder", options={"path": "x"})


def bad(row, split="train"):
    return BadImage(split=split, row=row, name=f"{split}/{row}.png", reason="cut short")


def listed(run):
    return [json.loads(line) for line in (run / QUARANTINE_FILE).read_text().splitlines()]


def batch_with(*missed):
    nothing = torch.zeros(0, dtype=torch.int64)
    return Batch(inputs=nothing, targets=nothing, rows=nothing, bad=missed)


def test_images_are_shared_once_each_in_the_order_of_their_rows():
    met = BadImages("skip")
    met.note([batch_with(bad(7), bad(2)), batch_with()])
    met.note([batch_with(bad(7))])
    assert len(met.waiting) == 3
    assert met.share() == (bad(2), bad(7))
    assert met.share() == ()


def test_an_image_is_named_once_with_its_reason(caplog):
    met = BadImages("skip")
    with caplog.at_level(logging.WARNING):
        met.tell([bad(2), bad(7)])
        met.tell([bad(7), bad(7, "val")])
    assert caplog.messages == [
        "'train': train/2.png cannot be read: cut short",
        "'train': train/7.png cannot be read: cut short",
        "'val': val/7.png cannot be read: cut short",
    ]


def test_a_thousand_bad_images_do_not_fill_the_log(caplog):
    met = BadImages("skip")
    with caplog.at_level(logging.WARNING):
        for first in range(0, 1000, 100):
            met.tell([bad(row) for row in range(first, first + 100)])
    assert len(caplog.messages) == 51
    assert caplog.messages[-1] == "further images that cannot be read are counted, but not named"


def test_only_quarantine_keeps_a_list(run):
    BadImages("skip", run).tell([bad(2)])
    assert not (run / QUARANTINE_FILE).exists()
    BadImages("quarantine", run).tell([bad(2)])
    assert listed(run) == [{"name": "train/2.png", "split": "train", "reason": "cut short"}]


def test_a_run_that_goes_on_adds_to_the_list_and_lists_nothing_twice(run):
    BadImages("quarantine", run).tell([bad(7), bad(2)])
    BadImages("quarantine", run).tell([bad(2), bad(3)])
    assert [entry["name"] for entry in listed(run)] == ["train/7.png", "train/2.png", "train/3.png"]


def test_images_left_out_before_the_run_are_listed_under_quarantine(
    make_recipe, make_tiny_model, make_splits, tmp_path
):
    splits = replace(make_splits(), left_out=(bad(5), bad(9, "val")))
    model = make_tiny_model()
    for policy, names in (("quarantine", ["train/5.png", "val/9.png"]), ("skip", None)):
        recipe = make_recipe(data=DataRecipe(source=SOURCE, workers=0, on_bad_image=policy))
        plan = make_plan(recipe, model, splits, join_world())
        folder = tmp_path / policy
        for _ in range(2):  # the second time as a run that goes on
            write_run_facts(folder, plan, model, splits, world=join_world())
        if names is None:
            assert not (folder / QUARANTINE_FILE).exists()
        else:
            assert [entry["name"] for entry in listed(folder)] == names


def test_data_that_changed_by_images_gone_bad_names_them(
    make_recipe, make_tiny_model, make_splits, run
):
    splits, model = make_splits(), make_tiny_model()
    plan = make_plan(make_recipe(), model, splits, join_world())
    write_run_facts(run, plan, model, splits, world=join_world())
    check_same_data(run, splits)
    fewer = replace(splits, train=make_splits(train=23).train, left_out=(bad(5),))
    with pytest.raises(RunFolderError) as caught:
        check_same_data(run, fewer)
    assert caught.value.found == (
        "other images or labels in: train\n"
        "left out now, as they cannot be read:\n"
        "train/5.png: cut short"
    )


def test_settling_stops_where_bad_images_do(make_splits):
    split = make_splits().train
    assert BadImages("stop").settle(split, []) == ()
    assert BadImages("skip").settle(split, [bad(3)]) == (bad(3),)
    with pytest.raises(DataError, match="1 of the 24 images of 'train' cannot be read"):
        BadImages("stop").settle(split, [bad(3)])


@pytest.fixture
def trained(make_recipe, make_tiny_model, make_splits, run, metrics_of):
    """Train and judge on splits of which some images are bad; give results and metrics."""

    def do(policy):
        recipe = make_recipe(
            data=DataRecipe(source=SOURCE, workers=0, on_bad_image=policy),
            train=TrainRecipe(length="2 epochs", batch_size=8, precision="fp32"),
            eval=EvalRecipe(every="1 epoch", best="accuracy"),
        )
        splits = make_splits()
        splits = replace(splits, train=damage(splits.train, {3, 4}), test=damage(splits.test, {6}))
        model = make_tiny_model()
        plan = make_plan(recipe, model, splits, join_world())
        progress = train(plan, model, splits, run)
        order = make_order(splits.train, batch_size=8, seed=plan.seed, balance=0)
        rows = [set(step_rows(order, step).rows.tolist()) for step in range(plan.total_steps)]
        return judge_best(plan, model, splits, run=run, progress=progress), rows

    return do


@pytest.fixture
def metrics_of(run):
    def read(kind):
        lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        return [line for line in lines if line["kind"] == kind]

    return read


def test_a_run_counts_lists_and_reports_what_went_bad(trained, metrics_of, run):
    record, rows = trained("quarantine")
    counts = [len(of_step & {3, 4}) for of_step in rows]
    assert sum(counts) == 4  # two images, two epochs
    assert [line["replaced_images"] for line in metrics_of("train")] == counts
    assert [line["bad_images"] for line in metrics_of("train")] == counts
    assert {line["num_bad"] for line in metrics_of("eval")} == {0}
    assert {(one.split, one.num_examples, one.num_bad) for one in record.evaluations} == {
        ("val", 11, 0),
        ("test", 6, 1),
    }
    assert sorted((entry["split"], entry["name"]) for entry in listed(run)) == [
        ("test", "drawn/2/6"),
        ("train", "drawn/0/3"),
        ("train", "drawn/0/4"),
    ]


def test_a_run_that_bad_images_stop_ends_with_the_name(trained, run):
    with pytest.raises(DataError) as caught:
        trained("stop")
    assert caught.value.where in ("drawn/0/3", "drawn/0/4")
    assert not (run / QUARANTINE_FILE).exists()
