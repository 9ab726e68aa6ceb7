import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from huggingface_hub import HfApi

from hftune.cli.main import invoke
from hftune.cli.push import choose_target, print_plan
from hftune.hub.contents import PushFile
from hftune.hub.push import PushTarget
from hftune.hub.push_plan import PushPlan
from hftune.hub.server import RunningHub
from hftune.recipe.schema import Component, DataRecipe, HubRecipe, ModelRecipe, Recipe


def hftune(hub: RunningHub, cache: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hftune", "push", *words],
        env=os.environ | hub.environment | {"HF_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow  # a process that builds the model
def test_dry_run_sends_nothing(
    local_hub: RunningHub, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    done = hftune(local_hub, tmp_path, str(make_run()), "local/cli-dry", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["creates"] == "repository"
    assert values["total"] == sum(file["size"] for file in values["files"])
    assert "model.safetensors" in [file["path"] for file in values["files"]]
    api = HfApi(endpoint=local_hub.endpoint, token=local_hub.write_token)
    assert not api.repo_exists("local/cli-dry")


@pytest.mark.slow
def test_push_twice_makes_one_commit(
    local_hub: RunningHub, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run()
    words = (str(run), "local/cli-push", "--public", "--message", "first", "--tag", "v1", "--json")
    first = hftune(local_hub, tmp_path, *words)
    assert first.returncode == 0, first.stderr
    values = json.loads(first.stdout)
    again = hftune(local_hub, tmp_path, *words)
    assert json.loads(again.stdout) == values
    assert values["logit_gap"] <= 1e-5
    assert json.loads((run / "pushed.json").read_text())["commit"] == values["commit"]
    api = HfApi(endpoint=local_hub.endpoint, token=local_hub.write_token)
    titles = [commit.title for commit in api.list_repo_commits("local/cli-push")]
    assert titles == ["first", "initial commit"]
    tags = api.list_repo_refs("local/cli-push").tags
    assert [(tag.name, tag.target_commit) for tag in tags] == [("v1", values["commit"])]
    assert not api.repo_info("local/cli-push").private


@pytest.mark.slow
def test_space_follows_its_model_and_both_are_left_alone_when_nothing_changed(
    local_hub: RunningHub, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    words = ("--space", "local/cli-shown-demo", "--json")
    first = hftune(local_hub, tmp_path, str(make_run()), "local/cli-shown", *words)
    assert first.returncode == 0, first.stderr
    values = json.loads(first.stdout)
    again = hftune(local_hub, tmp_path, "local/cli-shown", *words)  # the published model alone
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == values["space"]
    api = HfApi(endpoint=local_hub.endpoint, token=local_hub.write_token)
    assert [c.title for c in api.list_repo_commits("local/cli-shown-demo", repo_type="space")] == [
        f"Show local/cli-shown at {values['commit']}",
        "initial commit",
    ]
    assert api.space_info("local/cli-shown-demo").private


def test_a_space_of_a_published_model_takes_no_words_about_the_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["push", "org/cats", "org/others", "--revision", "dev", "--space", "org/demo"]
    assert invoke(words) == 2
    assert "REPO and --revision" in capsys.readouterr().err


def plan(creates: Literal["repository", "branch"] | None, *, unchanged: bool) -> PushPlan:
    weights = PushFile(
        path="model.safetensors", size=2048, sha256="", blob_id="", unchanged=unchanged
    )
    return PushPlan(
        target=PushTarget(repo_id="org/name", revision="dev"),
        folder=Path("artifact"),
        files=(weights,),
        message="Hello",
        parent=None,
        creates=creates,
    )


@pytest.mark.parametrize(
    ("creates", "words"),
    [
        ("repository", "creates the private repository, one commit 'Hello'"),
        ("branch", "creates the branch, one commit 'Hello'"),
        (None, "org/name at dev: one commit 'Hello'"),
    ],
)
def test_plan_names_what_is_made_and_sent(
    creates: Literal["repository", "branch"] | None,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_plan(plan(creates, unchanged=False), card="# The card", as_json=False)
    out = capsys.readouterr().out
    assert words in out
    assert "sends         2.0 KiB  model.safetensors" in out
    assert "# The card" in out
    assert out.endswith("Nothing was sent.\n")


def test_plan_without_a_change_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(plan(None, unchanged=True), card="", as_json=False)
    assert "would make no commit" in capsys.readouterr().out


def test_target_that_nobody_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text(
        "run: x\nmodel: {repo: org/base}\ndata: {source: {name: image_folder, path: ./images}}\n"
    )
    assert invoke(["push", str(tmp_path)]) == 2
    assert "where to push to" in capsys.readouterr().err


def test_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["push", str(tmp_path), "org/name"]) == 2
    assert "no recipe.yaml" in capsys.readouterr().err


def test_command_line_wins_over_the_recipe() -> None:
    hub = HubRecipe(push_to="org/one", private=True, revision="dev")
    recipe = Recipe(
        run="x",
        model=ModelRecipe(repo="org/base"),
        data=DataRecipe(source=Component(name="image_folder")),
        hub=hub,
    )
    assert choose_target(recipe, None, private=None, revision=None) == PushTarget(
        repo_id="org/one", private=True, revision="dev"
    )
    assert choose_target(recipe, "org/two", private=False, revision="main") == PushTarget(
        repo_id="org/two", private=False, revision="main"
    )
