"""A run goes on elsewhere from its branch on the Hub, and no Hub that fails disturbs it."""

import json
import logging
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import CommitOperationAdd, HfApi

from hftune.core import DataFacts, Progress, TeacherFacts
from hftune.errors import OfflineError, RunFolderError
from hftune.files import remove_leftovers, write_json, write_text
from hftune.hub.client import HubSettings
from hftune.hub.mirror import MIRROR_FILE, fetch_state, find_state
from hftune.recipe.schema import Component, DataRecipe, HubRecipe, SaveRecipe
from hftune.recipe.show import to_yaml
from hftune.train.checkpoint import (
    CHECKPOINTS,
    Memory,
    commit_checkpoint,
    list_checkpoints,
    prune_checkpoints,
)
from hftune.train.loop import train
from hftune.train.mirror import mirror_target, open_mirror, restore_from_hub
from hftune.train.pins import PINS_FILE, Pins, settled_pins
from hftune.train.plan import make_plan
from hftune.train.run_facts import DataRecord, SplitRecord, read_data_record
from hftune.train.run_folder import check_run_folder
from hftune.train.world import join_world

LONG = 120.0


@pytest.fixture
def settings(local_hub, tmp_path):
    return HubSettings(
        endpoint=local_hub.endpoint, token=local_hub.write_token, cache=tmp_path / "cache",
        first_pause=0.0, attempts=2,
    )  # fmt: skip


@pytest.fixture
def api(local_hub):
    return HfApi(endpoint=local_hub.endpoint, token=local_hub.write_token)


@pytest.fixture
def recipe(make_recipe, tmp_path):
    """A small recipe that mirrors to a repository of this test, every two steps."""
    return make_recipe(
        save=SaveRecipe(every="2 steps", keep=2, push_every="2 steps"),
        hub=HubRecipe(push_to=f"local/mirror-{tmp_path.name}"[:60]),
    )


@pytest.fixture(scope="module")
def any_plan(make_recipe, make_tiny_model, make_splits):
    return make_plan(make_recipe(), make_tiny_model(), make_splits(), join_world())


@pytest.fixture
def plan(any_plan, recipe):
    return replace(any_plan, recipe=recipe)


@pytest.fixture
def elsewhere(tmp_path):
    return tmp_path / "elsewhere" / "run"


def commit(run: Path, step: int) -> None:
    """Leave what a run has after `step` steps: a checkpoint, metrics, the best weights."""
    module = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(module.weight, step)
    commit_checkpoint(
        run / CHECKPOINTS, Progress(step=step), module=module, memory=Memory(), plan_digest="x"
    )
    lines = [json.dumps({"kind": "train", "step": at + 1}) + "\n" for at in range(step)]
    write_text(run / "metrics.jsonl", "".join(lines))
    write_json(run / "best" / "state.json", {"step": step, "split": "val", "values": {}})


def state_on_hub(recipe, settings, folder):
    """Fetch what the branch holds."""
    ref = find_state(mirror_target(recipe), settings=settings)
    fetch_state(ref, folder, settings=settings)
    return folder


def step_on_hub(recipe, settings, folder):
    return json.loads((state_on_hub(recipe, settings, folder) / MIRROR_FILE).read_text())["step"]


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def train_in(run, recipe, model, splits, settings):
    """Restore, train to the end or to a stop, and send the newest checkpoint.

    The loop would send to the Hub of the environment; here it sends nothing by itself.
    """
    restore_from_hub(run, recipe, settings=settings)
    run.mkdir(parents=True, exist_ok=True)
    write_text(run / "recipe.yaml", to_yaml(recipe))
    plan = make_plan(unmirrored(recipe), model, splits, join_world())
    mirror = open_mirror(replace(plan, recipe=recipe), run, settings=settings)
    progress = train(plan, model, splits, run)
    mirror.finish(seconds=LONG)
    return progress


def unmirrored(recipe):
    return replace(recipe, save=replace(recipe.save, push_every=None))


def without_times(run):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    timed = ("images_per_second", "waiting")
    return [{k: v for k, v in line.items() if k not in timed} for line in lines]


def test_a_run_that_goes_on_in_an_empty_folder_ends_bit_equal(
    recipe, make_tiny_model, make_splits, run, elsewhere, tmp_path, head_then_all, stop_after,
    settings, state_of, assert_equal_states,
):  # fmt: skip
    recipe = replace(recipe, unfreeze=head_then_all)
    splits, alone = make_splits(), tmp_path / "alone"
    undisturbed = make_tiny_model("test_resnet", drop_rate=0.2)
    alone.mkdir()
    plan = make_plan(unmirrored(recipe), undisturbed, splits, join_world())
    train(plan, undisturbed, splits, alone)

    stop_after(5)
    model = make_tiny_model("test_resnet", drop_rate=0.2)
    assert train_in(run, recipe, model, splits, settings).step == 5
    resumed = make_tiny_model("test_resnet", drop_rate=0.2, seed=1)
    other = replace(settings, cache=tmp_path / "other-cache")
    assert train_in(elsewhere, recipe, resumed, splits, other).step == 9

    assert_equal_states(state_of(resumed), state_of(undisturbed))
    assert without_times(elsewhere) == without_times(alone)
    assert (elsewhere / "best/model.safetensors").read_bytes() == (
        alone / "best/model.safetensors"
    ).read_bytes()
    assert step_on_hub(recipe, settings, tmp_path / "hub") == 9


def test_the_branch_follows_at_its_interval(recipe, plan, run, settings, tmp_path):
    recipe = replace(recipe, save=replace(recipe.save, push_every="4 steps"))
    mirror = open_mirror(replace(plan, recipe=recipe), run, settings=settings)
    seen = []
    for step in (2, 4, 6, 8):
        commit(run, step)
        mirror.offer(step)
        assert mirror.wait(seconds=LONG)
        seen.append(None if mirror.sent is None else mirror.sent.step)
    assert seen == [None, 4, 4, 8]
    assert step_on_hub(recipe, settings, tmp_path / "hub") == 8


@pytest.mark.parametrize(("every", "sent"), [("1 h", None), ("0.000001 s", 2), ("3 epochs", None)])
def test_an_interval_may_be_a_time_or_epochs(every, sent, recipe, plan, run, settings):
    recipe = replace(recipe, save=replace(recipe.save, push_every=every))
    mirror = open_mirror(replace(plan, recipe=recipe), run, settings=settings)
    commit(run, 2)
    mirror.offer(2)
    assert mirror.wait(seconds=LONG)
    assert (None if mirror.sent is None else mirror.sent.step) == sent


def test_the_end_sends_what_is_not_due_yet_and_only_once(recipe, plan, run, settings, api):
    recipe = replace(recipe, save=replace(recipe.save, push_every="1 h"))
    mirror = open_mirror(replace(plan, recipe=recipe), run, settings=settings)
    commit(run, 2)
    mirror.finish(seconds=LONG)
    target = mirror_target(recipe)
    head = api.repo_info(target.repo_id, revision=target.revision).sha
    mirror.finish(seconds=LONG)
    restore_from_hub(run, recipe, settings=settings)
    open_mirror(replace(plan, recipe=recipe), run, settings=settings).finish(seconds=LONG)
    assert api.repo_info(target.repo_id, revision=target.revision).sha == head


def test_what_is_sent_is_as_it_was_when_offered(recipe, plan, run, settings, tmp_path):
    mirror = open_mirror(plan, run, settings=settings)
    commit(run, 2)
    weights = (run / CHECKPOINTS / "step-00000002/model.safetensors").read_bytes()
    mirror.offer(2)
    commit(run, 3)
    prune_checkpoints(run / CHECKPOINTS, keep=1)
    assert mirror.wait(seconds=LONG)
    there = state_on_hub(recipe, settings, tmp_path / "hub")
    assert (there / CHECKPOINTS / "step-00000002/model.safetensors").read_bytes() == weights
    assert (there / "metrics.jsonl").read_text().count("\n") == 2
    assert json.loads((there / "best/state.json").read_text())["step"] == 2
    assert [path.name for path in (there / CHECKPOINTS).iterdir()] == ["step-00000002"]
    assert sorted(path.name for path in run.iterdir()) == ["best", "checkpoints", "metrics.jsonl"]


def test_the_commits_that_the_run_took_go_along(recipe, plan, run, elsewhere, settings):
    commit(run, 2)
    pins = Pins(model="a" * 40, teacher=TeacherFacts(repo_id="me/large", commit="b" * 40))
    write_json(run / PINS_FILE, pins.to_json())
    open_mirror(plan, run, settings=settings).finish(seconds=LONG)
    restore_from_hub(elsewhere, recipe, settings=settings)
    assert settled_pins(elsewhere) == pins


def test_one_commit_is_all_the_history_that_the_branch_keeps(recipe, plan, run, settings, api):
    mirror = open_mirror(plan, run, settings=settings)
    for step in (2, 4):
        commit(run, step)
        mirror.offer(step)
        mirror.wait(seconds=LONG)
    target = mirror_target(recipe)
    assert len(api.list_repo_commits(target.repo_id, revision=target.revision)) == 1


def test_a_hub_that_is_down_costs_warnings_and_is_tried_again(
    recipe, plan, run, settings, caplog, tmp_path
):
    mirror = open_mirror(plan, run, settings=replace(settings, endpoint="http://127.0.0.1:1"))
    for step in (2, 4):
        commit(run, step)
        mirror.offer(step)
        assert mirror.wait(seconds=LONG)
    said = [one.getMessage() for one in caplog.records if one.name == "hftune.train.mirror"]
    assert len(said) == 2
    assert "the checkpoint after step 2 was not sent" in said[0]
    assert f"Training goes on, and all is kept in {run}; the next one is tried again" in said[0]
    mirror.settings = settings  # the Hub is back
    commit(run, 6)
    mirror.offer(6)
    assert mirror.wait(seconds=LONG)
    assert step_on_hub(recipe, settings, tmp_path / "hub") == 6


def test_a_silent_hub_holds_neither_training_nor_its_end(plan, run, settings, caplog):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = f"http://127.0.0.1:{silent.getsockname()[1]}"
        mirror = open_mirror(
            plan, run, settings=replace(settings, endpoint=there, timeout=2.0, attempts=1)
        )
        for step in (2, 4):
            commit(run, step)
            mirror.offer(step)  # the second finds the first still under way
        assert not mirror.wait(seconds=0)
        mirror.finish(seconds=0.01)
        assert "did not reach" in caplog.text
        assert "there lies the one after step 0" in caplog.text
        assert mirror.wait(seconds=LONG)
    assert caplog.text.count("was not sent") == 1


def test_of_two_processes_on_one_branch_one_is_refused_once(
    recipe, plan, run, elsewhere, settings, caplog, tmp_path
):
    first = open_mirror(plan, run, settings=settings)
    commit(run, 2)
    first.offer(2)
    first.wait(seconds=LONG)
    restore_from_hub(elsewhere, recipe, settings=settings)
    second = open_mirror(plan, elsewhere, settings=settings)
    for step, (folder, mirror) in ((4, (run, first)), (6, (elsewhere, second)), (8, (run, first))):
        commit(folder, step)
        mirror.offer(step)
        mirror.wait(seconds=LONG)
    commit(elsewhere, 8)
    second.finish(seconds=LONG)
    assert (first.is_refused, second.is_refused) == (False, True)
    assert caplog.text.count("another process has sent its own state") == 1
    assert "no more is sent by this process" in caplog.text
    assert step_on_hub(recipe, settings, tmp_path / "hub") == 8


def test_whoever_takes_over_a_branch_refuses_the_one_before(
    recipe, plan, run, elsewhere, settings, caplog
):
    first = open_mirror(plan, run, settings=settings)
    commit(run, 2)
    first.offer(2)
    first.wait(seconds=LONG)
    restore_from_hub(elsewhere, recipe, settings=settings)
    second = open_mirror(plan, elsewhere, settings=settings)
    commit(elsewhere, 4)
    second.finish(seconds=LONG)
    commit(run, 6)
    first.offer(6)
    first.wait(seconds=LONG)
    assert (first.is_refused, second.is_refused) == (True, False)


@pytest.fixture
def mirrored(recipe, plan, run, settings):
    """A branch that holds the run after step 4."""
    commit(run, 4)
    write_text(run / "recipe.yaml", to_yaml(recipe))
    open_mirror(plan, run, settings=settings).finish(seconds=LONG)
    return run


def test_what_is_brought_is_a_run_folder(mirrored, recipe, elsewhere, settings):
    restore_from_hub(elsewhere, recipe, settings=settings)
    check_run_folder(elsewhere, recipe)
    found, sent = files_of(elsewhere), files_of(mirrored)
    assert found.pop(MIRROR_FILE)
    assert found == sent
    assert not list(elsewhere.parent.glob(".*"))


def test_an_older_folder_gets_the_newer_state(mirrored, recipe, elsewhere, settings):
    commit(elsewhere, 2)
    write_text(elsewhere / "recipe.yaml", to_yaml(recipe))
    restore_from_hub(elsewhere, recipe, settings=settings)
    names = [path.name for path in list_checkpoints(elsewhere / CHECKPOINTS)]
    assert names == ["step-00000002", "step-00000004"]
    brought, sent = (folder / "best/state.json" for folder in (elsewhere, mirrored))
    assert brought.read_bytes() == sent.read_bytes()


def test_bringing_that_was_killed_is_done_again(mirrored, recipe, elsewhere, settings):
    shutil.copytree(mirrored / "best", elsewhere / "best")
    write_text(elsewhere / "recipe.yaml", to_yaml(recipe))
    half = elsewhere / ".mirror.0123abcd.part" / CHECKPOINTS
    shutil.copytree(mirrored / CHECKPOINTS, half)
    check_run_folder(elsewhere, recipe)
    restore_from_hub(elsewhere, recipe, settings=settings)
    remove_leftovers(elsewhere)
    found = files_of(elsewhere)
    assert found.pop(MIRROR_FILE)
    assert found == files_of(mirrored)


def test_a_newer_folder_wins_and_it_is_said(mirrored, recipe, elsewhere, settings, caplog):
    commit(elsewhere, 6)
    before = files_of(elsewhere)
    with caplog.at_level(logging.INFO, logger="hftune"):
        restore_from_hub(elsewhere, recipe, settings=settings)
    after = files_of(elsewhere)
    assert after.pop(MIRROR_FILE)
    assert after == before
    assert "after step 6" in caplog.text
    assert "an older state, after step 4" in caplog.text


def test_a_damaged_newest_checkpoint_is_no_reason_to_stay(mirrored, recipe, elsewhere, settings):
    commit(elsewhere, 6)
    (elsewhere / CHECKPOINTS / "step-00000006/model.safetensors").write_bytes(b"x")
    restore_from_hub(elsewhere, recipe, settings=settings)
    names = [path.name for path in list_checkpoints(elsewhere / CHECKPOINTS)]
    assert names == ["step-00000004"]


def test_the_branch_of_another_recipe_is_refused_and_nothing_is_written(
    mirrored, recipe, elsewhere, settings
):
    other = replace(recipe, optim=replace(recipe.optim, lr=0.5))
    with pytest.raises(RunFolderError, match="another recipe") as caught:
        restore_from_hub(elsewhere, other, settings=settings)
    said = str(caught.value)
    assert "optim.lr: 0.001 there, 0.5 here" in said
    assert f"hf repos branch delete {recipe.hub.push_to} checkpoints" in said
    assert not elsewhere.exists()


def test_a_recipe_there_that_cannot_be_read_is_named_by_its_branch(
    mirrored, recipe, elsewhere, settings, api
):
    target = mirror_target(recipe)
    odd = CommitOperationAdd(path_in_repo="recipe.yaml", path_or_fileobj=b"run: tiny\nodd: 1\n")
    api.create_commit(target.repo_id, [odd], commit_message="x", revision=target.revision)
    with pytest.raises(RunFolderError, match="cannot be read") as caught:
        restore_from_hub(elsewhere, recipe, settings=settings)
    said = str(caught.value)
    assert "odd" in said
    assert f"{target.repo_id}, branch checkpoints" in said
    assert not elsewhere.exists()


def test_what_may_change_may_change_elsewhere_too(mirrored, recipe, elsewhere, settings):
    longer = replace(recipe, train=replace(recipe.train, length="5 epochs"))
    restore_from_hub(elsewhere, longer, settings=settings)
    check_run_folder(elsewhere, longer)


def test_a_branch_that_was_deleted_is_begun_anew(mirrored, recipe, plan, settings, api, tmp_path):
    restore_from_hub(mirrored, recipe, settings=settings)
    target = mirror_target(recipe)
    api.delete_branch(target.repo_id, branch=target.revision)
    restore_from_hub(mirrored, recipe, settings=settings)
    assert not (mirrored / MIRROR_FILE).exists()
    open_mirror(plan, mirrored, settings=settings).finish(seconds=LONG)
    assert step_on_hub(recipe, settings, tmp_path / "hub") == 4


def test_a_hub_that_cannot_be_asked_stops_the_start(mirrored, recipe, elsewhere, settings):
    down = replace(settings, endpoint="http://127.0.0.1:1")
    with pytest.raises(OfflineError):
        restore_from_hub(elsewhere, recipe, settings=down)
    assert not elsewhere.exists()


def test_a_state_without_its_checkpoint_is_refused(mirrored, recipe, elsewhere, settings, api):
    target = mirror_target(recipe)
    api.delete_folder(CHECKPOINTS, target.repo_id, revision=target.revision)
    with pytest.raises(RunFolderError, match="lacks its checkpoint"):
        restore_from_hub(elsewhere, recipe, settings=settings)
    assert list_checkpoints(elsewhere / CHECKPOINTS) == []


@pytest.mark.parametrize("step", ['"4"', "-1", "[]"])
def test_a_record_that_lies_is_refused(step, mirrored, recipe, elsewhere, settings, api):
    target = mirror_target(recipe)
    text = f'{{"run": "tiny", "step": {step}, "state": "", "sender": ""}}'
    lie = CommitOperationAdd(path_in_repo=MIRROR_FILE, path_or_fileobj=text.encode())
    api.create_commit(target.repo_id, [lie], commit_message="x", revision=target.revision)
    with pytest.raises(RunFolderError) as caught:
        restore_from_hub(elsewhere, recipe, settings=settings)
    assert MIRROR_FILE in str(caught.value)


def test_paths_of_this_machine_stay_here_and_may_differ_there(
    recipe, plan, run, elsewhere, settings, tmp_path
):
    here, there = (
        replace(
            recipe,
            data=DataRecipe(
                source=Component(
                    name="image_folder", options={"path": str(tmp_path / name / "images")}
                )
            ),
        )
        for name in ("here", "there")
    )
    commit(run, 4)
    train = SplitRecord(count=24, digest="d", per_class={"dark": 24})
    facts = DataFacts(path=str(tmp_path / "here/images"))
    write_json(run / "data.json", DataRecord(facts=facts, splits={"train": train}).to_json())
    open_mirror(replace(plan, recipe=here), run, settings=settings).finish(seconds=LONG)
    state = state_on_hub(here, settings, tmp_path / "hub")
    private = str(tmp_path).encode()
    assert not [name for name, content in files_of(state).items() if private in content]
    restore_from_hub(elsewhere, there, settings=settings)
    check_run_folder(elsewhere, there)
    assert read_data_record(elsewhere).splits == {"train": SplitRecord(count=24, digest="d")}


def test_a_token_in_a_record_is_never_sent(recipe, plan, run, settings, api, caplog):
    commit(run, 2)
    secret = "hf_" + "a1B2" * 8
    write_json(run / "plan.json", {"note": secret})
    open_mirror(plan, run, settings=settings).finish(seconds=LONG)
    assert "plan.json: holds an access token" in caplog.text
    assert secret not in caplog.text
    assert not api.repo_exists(recipe.hub.push_to)


def test_a_recipe_without_push_every_asks_nothing(make_recipe, plan, run, settings):
    quiet = make_recipe(hub=HubRecipe(push_to="local/never"))
    down = replace(settings, endpoint="http://127.0.0.1:1")
    restore_from_hub(run, quiet, settings=down)
    assert open_mirror(replace(plan, recipe=quiet), run) is None
    assert list(run.iterdir()) == []


def test_a_run_folder_without_checkpoints_sends_nothing(plan, run, settings, api, recipe):
    mirror = open_mirror(plan, run, settings=settings)
    mirror.finish(seconds=LONG)
    assert not api.repo_exists(recipe.hub.push_to)


def test_a_folder_that_cannot_be_read_is_a_warning(plan, run, settings, caplog):
    commit(run, 2)
    mirror = open_mirror(plan, run, settings=settings)
    shutil.rmtree(run / CHECKPOINTS / "step-00000002")
    (run / CHECKPOINTS / "step-00000002").mkdir()
    mirror.offer(2)
    assert "was not sent" in caplog.text
