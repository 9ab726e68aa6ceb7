import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hftune.cli.main import invoke
from hftune.hub.server import RunningHub


@pytest.fixture(scope="module")
def repo(local_hub: RunningHub) -> tuple[str, str]:
    """Seed one model and give its name and commit."""
    api = HfApi(endpoint=local_hub.endpoint, token=local_hub.write_token)
    repo_id = "local/cli-pull"
    api.create_repo(repo_id)
    files = {"model.safetensors": b"\x00" * 2000, "config.json": b"{}"}
    commit = api.create_commit(
        repo_id,
        [CommitOperationAdd(path_in_repo=p, path_or_fileobj=c) for p, c in files.items()],
        commit_message="seed",
    )
    return repo_id, commit.oid


def hftune(hub: RunningHub, cache: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hftune", "pull", *words],
        env=os.environ | hub.environment | {"HF_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_pull_prints_files_commit_and_folder(
    local_hub: RunningHub, repo: tuple[str, str], tmp_path: Path
) -> None:
    done = hftune(local_hub, tmp_path / "cache", repo[0], "--to", str(tmp_path / "copy"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "       2 B  config.json",
        "   2.0 KiB  model.safetensors",
        f"commit  {repo[1]}",
        f"folder  {tmp_path / 'copy'}",
    ]


def test_pull_as_json(local_hub: RunningHub, repo: tuple[str, str], tmp_path: Path) -> None:
    done = hftune(local_hub, tmp_path, f"{repo[0]}@main", "--file", "config.json", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert (value["repo_id"], value["revision"], value["commit"]) == (repo[0], "main", repo[1])
    assert value["files"] == [{"path": "config.json", "size": 2}]


def test_hub_errors_are_messages_with_exit_code_3(local_hub: RunningHub, tmp_path: Path) -> None:
    done = hftune(local_hub, tmp_path, "local/absent")
    assert done.returncode == 3
    assert done.stderr.startswith("error: no such repository")
    assert "Traceback" not in done.stderr
    assert local_hub.write_token not in done.stderr


@pytest.mark.parametrize(
    ("repo", "text"), [("resnet18", "names no repository"), ("./absent", "no such folder")]
)
def test_wrong_requests_have_exit_code_2(
    repo: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["pull", repo]) == 2
    assert text in capsys.readouterr().err


LOCAL = """\
run: small
model: {architecture: test_vit, weights: ./own.safetensors}
data: {source: {name: image_folder, path: ./images}}
hub: {push_to: me/small}
"""


def test_what_a_recipe_needs_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "small.yaml").write_text(LOCAL)
    words = ["pull", "--recipe", str(tmp_path / "small.yaml")]
    assert invoke([*words, "data.source.path=./other"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "model.weights  ./own.safetensors  local",
        "data.source    ./other            local",
        "hub.push_to    me/small           needs a network: set it to null, 'hftune push' later",
        "this recipe takes nothing from the Hub",
    ]
    assert invoke([*words, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [need["place"] for need in value["needs"]] == ["local", "local", "network"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "one repository, such as org/name"),
        (["org/a", "org/b"], "org/a org/b"),
        (["--recipe", "small.yaml", "--to", "copy"], "--to beside --recipe"),
        (["--recipe", "absent.yaml"], "absent.yaml"),
    ],
)
def test_unclear_requests_have_exit_code_2(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["pull", *words]) == 2
    assert text in capsys.readouterr().err
