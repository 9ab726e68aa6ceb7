"""Killed in the middle of a push or a pull, the same command goes on; what has arrived stays."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hftune.hub.client import HubSettings
from hftune.hub.pull import pull
from hftune.hub.push import PushTarget, push
from hftune.hub.ref import parse_ref
from hftune.hub.server import RunningHub
from tests.hub.conftest import safetensors
from tests.hub.fault_cells import small_parts
from tests.hub.faulty import FAULTS, FaultyHub, faulty

START = """
import sys
from pathlib import Path
from hftune.hub.client import HubSettings
from hftune.hub.pull import pull
from hftune.hub.push import PushTarget, push
endpoint, token, cache, job, repo_id, folder = sys.argv[1:]
settings = HubSettings(endpoint=endpoint, token=token, cache=Path(cache), timeout=60)
if job == "pull":
    pull(repo_id, settings=settings)
else:
    push(Path(folder), PushTarget(repo_id=repo_id), message="m", settings=settings)
"""
STALL = FAULTS["stall"]
LARGE = safetensors(b"\x05\x06" * 80_000)  # three parts


@pytest.fixture
def proxy(client_hub: RunningHub) -> Iterator[FaultyHub]:
    with small_parts(), faulty(client_hub.endpoint) as proxy:
        yield proxy


@pytest.fixture
def through(proxy: FaultyHub, settings: HubSettings) -> HubSettings:
    return replace(settings, endpoint=proxy.endpoint)


@pytest.fixture
def kill_when(
    proxy: FaultyHub, through: HubSettings, artifact: Path, repo_id: str
) -> Callable[[str, Callable[[], bool]], None]:
    """Give a function that starts the job in a process of its own and kills it at a moment."""

    def run(job: str, moment: Callable[[], bool]) -> None:
        where = (through.endpoint, str(through.token), str(through.cache))
        command = [sys.executable, "-W", "ignore", "-c", START, *where, job, repo_id, str(artifact)]
        with subprocess.Popen(command) as process:
            try:
                proxy.wait_until(moment)
            finally:
                process.kill()
        proxy.heal()

    return run


KillWhen = Callable[[str, Callable[[], bool]], None]


def titles(api: HfApi, repo_id: str) -> list[str]:
    return [commit.title for commit in api.list_repo_commits(repo_id)]


def test_push_killed_before_its_commit_sends_no_file_again(
    proxy: FaultyHub,
    through: HubSettings,
    artifact: Path,
    repo_id: str,
    api: HfApi,
    kill_when: KillWhen,
) -> None:
    (artifact / "large.safetensors").write_bytes(LARGE)
    proxy.spoil("commit", STALL)
    kill_when("push", lambda: proxy.count("commit") == 1)
    assert titles(api, repo_id) == ["initial commit"]
    push(artifact, PushTarget(repo_id=repo_id), message="m", settings=through)
    assert proxy.sent("put", "part") == 0
    assert proxy.count("commit") == 1
    assert titles(api, repo_id) == ["m", "initial commit"]


def test_push_killed_in_a_file_sends_only_that_one_again(
    proxy: FaultyHub,
    through: HubSettings,
    artifact: Path,
    repo_id: str,
    api: HfApi,
    kill_when: KillWhen,
) -> None:
    (artifact / "large.safetensors").write_bytes(LARGE)
    proxy.spoil("part", STALL, first=2)
    kill_when("push", lambda: proxy.count("part") == 2 and proxy.count("verify") == 1)
    assert titles(api, repo_id) == ["initial commit"]
    push(artifact, PushTarget(repo_id=repo_id), message="m", settings=through)
    assert proxy.sent("put") == 0
    assert proxy.sent("part") == len(LARGE)
    assert titles(api, repo_id) == ["m", "initial commit"]


def test_push_killed_after_its_commit_makes_no_second_one(
    proxy: FaultyHub,
    through: HubSettings,
    artifact: Path,
    repo_id: str,
    api: HfApi,
    kill_when: KillWhen,
) -> None:
    proxy.spoil("commit", FAULTS["answer stalls"])
    kill_when("push", lambda: proxy.count("commit") == 1 and "m" in titles(api, repo_id))
    push(artifact, PushTarget(repo_id=repo_id), message="m", settings=through)
    assert proxy.sent("put", "part", "commit") == 0
    assert titles(api, repo_id) == ["m", "initial commit"]


def test_pull_killed_in_a_file_shows_no_part_of_it(
    proxy: FaultyHub, through: HubSettings, artifact: Path, repo_id: str, kill_when: KillWhen
) -> None:
    push(artifact, PushTarget(repo_id=repo_id), message="m", settings=through)
    proxy.spoil("get large", STALL)
    texts = 3  # config.json, README.md, hftune/recipe.yaml
    kill_when("pull", lambda: (proxy.count("get large"), proxy.count("get small")) == (1, texts))
    assert not list(through.cache.glob("*/snapshots/*/*.safetensors"))
    got = pull(parse_ref(repo_id), settings=through)
    assert got.folder is not None
    weights = "model.safetensors"
    assert (got.folder / weights).read_bytes() == (artifact / weights).read_bytes()


def test_download_that_breaks_off_goes_on_where_it_was(
    client_hub: RunningHub, settings: HubSettings, repo_id: str, api: HfApi
) -> None:
    """The client library goes on in steps of 10 MiB."""
    content = safetensors(bytes(range(256)) * (90 << 10))
    api.create_repo(repo_id)
    operation = CommitOperationAdd("model.safetensors", content)
    api.create_commit(repo_id, [operation], commit_message="seed")
    with faulty(client_hub.endpoint) as proxy:
        proxy.spoil("get large", FAULTS["answer cut short"], times=1)
        got = pull(parse_ref(repo_id), settings=replace(settings, endpoint=proxy.endpoint))
        assert proxy.count("get large") == 2
    assert got.folder is not None
    assert (got.folder / "model.safetensors").read_bytes() == content
