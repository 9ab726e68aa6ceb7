"""Whole searches over tiny runs: stopped and gone on with, failing, refused; what they leave."""

import json
import signal
from dataclasses import replace

import pytest
import torch

from hftune.cli.main import stops_as_errors
from hftune.errors import DataError, RequestError, RunFolderError, Stopped
from hftune.finetune import train_and_judge
from hftune.recipe import load_recipe
from hftune.recipe.show import differences
from hftune.train.best import best_weights
from hftune.train.control import Control
from hftune.tune import BEST_FILE, PICTURE, Budget, Method, tune
from hftune.tune.search import open_space
from hftune.tune.trial import OpenData, own_values, run_trial

WORDS = ("optim.lr=log:1e-4..1e-2", "train.batch_size=4|8", "optim.weight_decay=0.1")


def search(source, output, words=WORDS, *, trials=2, **method):
    return tune(source, words, output, method=Method(**method), budget=Budget(trials=trials))


def without_clock(found):
    """Give a search as values, but for its folder and what only the clock says."""
    values = found.to_json() | {"folder": None}
    for trial in values["trials"]:
        del trial["seconds"]
    return values


@pytest.fixture(scope="module")
def shared_source(squares, tmp_path_factory):
    from tests.tune.conftest import RECIPE

    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(RECIPE.format(images=squares))
    return str(path)


@pytest.fixture(scope="module")
def whole(shared_source, tmp_path_factory):
    """A search of two trials that nothing disturbed."""
    return search(shared_source, tmp_path_factory.mktemp("searches") / "whole")


def test_every_trial_is_a_whole_run_that_never_saw_the_test_split(whole):
    assert [trial.state for trial in whole.trials] == ["complete", "complete"]
    for trial in whole.trials:
        run = whole.folder / trial.folder
        recipe = load_recipe(run / "recipe.yaml")
        assert recipe.optim.lr == trial.settings["optim.lr"]
        assert str(recipe.train.batch_size) == trial.settings["train.batch_size"]
        assert recipe.optim.weight_decay == 0.1
        results = json.loads((run / "results.json").read_text())
        assert [one["split"] for one in results["evaluations"]] == ["val"]
        assert results["best_value"] == trial.value == max(trial.values)
        assert len(trial.values) == 2
        assert not (run / "checkpoints").exists()
    assert whole.best.value == max(trial.value for trial in whole.trials)
    written = (whole.folder / "tuning.json").read_text()
    assert json.loads(written) == json.loads(json.dumps(whole.to_json()))
    assert (whole.folder / PICTURE).read_bytes().startswith(b"\x89PNG")


def test_the_best_recipe_inherits_and_trains_to_the_same_weights(whole, shared_source, tmp_path):
    best = whole.folder / BEST_FILE
    recipe = load_recipe(best)
    run = whole.folder / whole.best.folder
    assert [change[0] for change in differences(load_recipe(run / "recipe.yaml"), recipe)] == [
        "run"
    ]
    assert recipe.run == "small-tuned"
    assert f"base: {shared_source}" not in best.read_text()  # found from where it lies
    results = train_and_judge(recipe, tmp_path / "again")
    assert results.best_value == whole.best.value
    one, other = best_weights(run), best_weights(tmp_path / "again")
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("saves", [1, 3])
def test_a_search_that_was_stopped_goes_on_to_the_same_end(
    saves, whole, shared_source, tmp_path, monkeypatch
):
    note_save, seen = Control.note_save, []

    def noted(self, step):  # a real signal after some checkpoint, in the first or second trial
        note_save(self, step)
        seen.append(step)
        if len(seen) == saves:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Control, "note_save", noted)
    words = (*WORDS, "save.every=3 steps")
    output = tmp_path / "stopped"
    with pytest.raises(Stopped), stops_as_errors():
        search(shared_source, output, words)
    found = search(shared_source, output, words)
    assert len(seen) > saves
    assert without_clock(found) == without_clock(whole)
    for trial in whole.trials:
        one, other = (best_weights(base / trial.folder) for base in (whole.folder, output))
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_finished_search_trains_nothing_and_can_be_lengthened(whole, shared_source):
    before = {path: path.stat().st_mtime_ns for path in whole.folder.glob("trial-*/**/*")}
    again = search(shared_source, whole.folder)
    after = {path: path.stat().st_mtime_ns for path in whole.folder.glob("trial-*/**/*")}
    assert (again, after) == (whole, before)


def test_another_question_needs_another_folder(whole, shared_source):
    words = ("optim.lr=log:1e-4..1e-1", "train.batch_size=4|8", "optim.weight_decay=0.2")
    with pytest.raises(RunFolderError, match="study of another question") as error:
        search(shared_source, whole.folder, words, seed=1)
    assert str(error.value.found).splitlines() == [
        "seed: 0 there, 1 here",
        "optim.lr: log:0.0001..0.01 there, log:0.0001..0.1 here",
        "optim.weight_decay: 0.1 there, 0.2 here",
    ]
    with pytest.raises(RunFolderError, match="no study"):
        search(shared_source, whole.folder / whole.best.folder)


def test_other_images_are_another_question(whole, shared_source):
    path = whole.folder / "study.json"
    record = json.loads(path.read_text())
    kept = path.read_text()
    path.write_text(json.dumps(record | {"data": record["data"] | {"val": "changed"}}))
    with pytest.raises(DataError, match="the data changed"):
        search(shared_source, whole.folder)
    path.write_text(kept)


def test_a_trial_that_fails_is_told_with_its_reason(source, tmp_path):
    words = ["optim.lr=1e-3|1e30", "train.length=1 epochs"]
    found = search(source, tmp_path / "out", words, sampler="grid", trials=None)
    assert sorted(trial.state for trial in found.trials) == ["complete", "failed"]
    (failed,) = [trial for trial in found.trials if trial.state == "failed"]
    assert failed.settings == {"optim.lr": "1e30"}
    assert "not finite" in failed.reason
    assert found.best.settings == {"optim.lr": "1e-3"}


def test_values_that_cannot_be_trained_are_refused_before_anything_is(source, tmp_path):
    words = ["train.batch_size=4|6|8|10", "train.micro_batch_size=4"]
    with pytest.raises(RequestError, match="cannot be trained") as error:
        search(source, tmp_path / "out", words)
    lines = str(error.value.found).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        *("train.batch_size=6", "train.batch_size=10"),
    ]
    assert not (tmp_path / "out").exists()


def test_a_trial_that_is_given_up_leaves_a_whole_run(source, tmp_path):
    searchable = open_space(source, ["optim.lr=1e-3|1e-4"])
    resolved = searchable.resolve({"optim.lr": "1e-4"}, run="early")
    asked = []
    results = run_trial(
        resolved,
        tmp_path / "early",
        splits=OpenData().of(resolved.recipe),
        gives_up=lambda: not asked.append(1),
    )
    assert (results.ended_early, results.steps, len(asked)) == (True, 2, 1)
    assert best_weights(tmp_path / "early")
    again = run_trial(resolved, tmp_path / "early", splits=None, gives_up=None)
    assert again == results


def test_data_are_opened_once_for_trials_that_ask_for_the_same(source):
    recipe = load_recipe(source)
    data = OpenData()
    first = data.of(recipe)
    assert first.test is None
    assert data.of(replace(recipe, data=replace(recipe.data, augment=(), balance=1.0))) is first
    other = data.of(replace(recipe, data=replace(recipe.data, missing_classes="warn")))
    assert other is not first


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (["optim.lr=log:1e-5..1e-1"], {"optim.lr": 1e-3}),
        (["train.length=1..3 epochs", "freeze.stages=0..2"],
         {"train.length": 2, "freeze.stages": 0}),
        (["optim.method=sgd|adamw", "train.batch_size=4|8"],
         {"optim.method": "adamw", "train.batch_size": "8"}),
        (["data.augment[0].min_scale=0.2..0.8"], {"data.augment[0].min_scale": 0.5}),
        (["optim.lr=1e-5..1e-4"], None),
        (["train.batch_size=4|16"], None),
        (["optim.layer_decay=0.6..0.9"], None),
    ],
)  # fmt: skip
def test_the_recipe_as_it_is_comes_first_where_the_space_holds_it(words, own, source):
    assert own_values(open_space(source, words)) == own
