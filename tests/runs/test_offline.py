"""What one command fetched, a machine without a network trains from; one process downloads."""

import json
import logging
import re
from collections import Counter
from pathlib import Path

import pytest
import timm
import torch
from timm.models import save_for_hf

from hftune.core import RepoRef
from hftune.hub.client import HubSettings
from hftune.hub.seed import seed_repo
from tests.data.squares import write_squares

pytestmark = pytest.mark.slow

MODEL, DATA = "local/offline-base", "local/offline-squares"
RECIPE = """\
run: small
model: {repo: local/offline-base, image_size: 32}
data: {source: {name: hub_dataset, repo: local/offline-squares}, workers: 0}
train: {length: 2 steps, batch_size: 6, precision: fp32}
"""
# Python runs this before anything else. It notes who wanted a connection, and makes none.
NO_SOCKETS = """\
import os, socket, traceback

def closed(*arguments, **options):
    with open(os.environ["ATTEMPTS"], "a") as notes:
        traceback.print_stack(file=notes)
    raise OSError("no network here")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = closed
"""


@pytest.fixture(scope="module")
def commits(local_hub, tmp_path_factory):
    """Seed the two repositories that the recipe needs, and give their commits."""
    root = tmp_path_factory.mktemp("offline")
    torch.manual_seed(0)
    module = timm.create_model("test_vit", num_classes=3, img_size=32)
    save_for_hf(module, root / "base", safe_serialization=True, model_args={"img_size": 32})
    (root / "base" / "pytorch_model.bin").unlink(missing_ok=True)
    write_squares(root / "squares")
    settings = HubSettings(
        endpoint=local_hub.endpoint, token=local_hub.write_token, cache=root / "cache"
    )
    model = RepoRef(repo_id=MODEL, folder=root / "base")
    data = RepoRef(kind="dataset", repo_id=DATA, folder=root / "squares")
    return tuple(seed_repo(settings, ref).ref.commit for ref in (model, data))


@pytest.fixture
def environment(local_hub, tmp_path):
    """A client of the Hub with caches of its own."""
    home = {"HF_HOME": str(tmp_path / "hf"), "HFTUNE_CACHE": str(tmp_path / "cache")}
    return local_hub.environment | home


def test_what_pull_fetched_trains_with_every_socket_closed(commits, environment, command, tmp_path):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE)
    model, data = commits
    pinned = [f"model.revision={model}", f"data.source.revision={data}"]
    done = command("pull", "--recipe", str(recipe), *pinned, "--json", **environment)
    assert done.code == 0, done.err
    needs = json.loads(done.out)["needs"]
    assert [(need["setting"], need["commit"]) for need in needs] == [
        ("model.repo", model),
        ("data.source", data),
    ]
    assert all(need["size"] > 0 for need in needs)

    customize = tmp_path / "closed" / "sitecustomize.py"
    customize.parent.mkdir()
    customize.write_text(NO_SOCKETS)
    attempts = tmp_path / "attempts"
    closed = {"PYTHONPATH": f"{customize.parent}:{Path.cwd()}", "ATTEMPTS": str(attempts)}
    output = tmp_path / "run"
    done = command("train", str(recipe), *pinned, "-o", str(output), **environment, **closed)
    assert done.code == 0, done.err
    assert not attempts.exists(), attempts.read_text()
    assert (output / "artifact" / "model.safetensors").is_file()


def test_one_process_of_a_machine_downloads(commits, environment, launch_two, caplog, tmp_path):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE)
    with caplog.at_level(logging.DEBUG, logger="hftune.hub.server.call"):
        done = launch_two("train", str(recipe), "--dry-run", **environment)
    assert done.code == 0, done.err
    fetched = Counter(re.findall(r"GET (\S+/(?:resolve|objects|lfs)\S*) 2\d\d", caplog.text))
    assert any("model.safetensors" in path for path in fetched), caplog.text
    assert any("train-00000" in path for path in fetched), caplog.text
    assert set(fetched.values()) == {1}, fetched
