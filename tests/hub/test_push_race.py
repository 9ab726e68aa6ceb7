"""Two processes push to one branch at once: one commit wins, the other hears of it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hftune.hub.server import RunningHub
from tests.hub.conftest import safetensors

ROUNDS = 4

# Plans at one line from the test, pushes at the next one, so that both have seen the same head.
PUSH = """
import json, sys
from pathlib import Path
from hftune.errors import HftuneError
from hftune.hub.client import HubSettings
from hftune.hub.push import PushTarget, carry_out
from hftune.hub.push_plan import plan_push
endpoint, token, cache = sys.argv[1:]
settings = HubSettings(endpoint=endpoint, token=token, cache=Path(cache), first_pause=0.01)
for line in sys.stdin:
    folder, repo_id = line.split()
    plan = plan_push(Path(folder), PushTarget(repo_id=repo_id), message=folder, settings=settings)
    print("planned", flush=True)
    sys.stdin.readline()
    try:
        said = {"commit": carry_out(plan, settings).commit}
    except HftuneError as error:
        said = {"error": type(error).__name__, "remedy": error.remedy}
    print(json.dumps(said), flush=True)
"""


class Pusher:
    """A process that pushes when it is told to."""

    def __init__(self, hub: RunningHub, cache: Path) -> None:
        where = (hub.endpoint, hub.write_token, str(cache))
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PUSH, *where],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture(scope="module")
def pushers(
    client_hub: RunningHub, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Pusher]]:
    both = [Pusher(client_hub, tmp_path_factory.mktemp(name)) for name in ("one", "two")]
    yield both
    for pusher in both:
        pusher.process.communicate()


def push_at_once(pushers: list[Pusher], folders: list[Path], repo_id: str) -> list[dict[str, str]]:
    for pusher, folder in zip(pushers, folders, strict=True):
        pusher.tell(f"{folder} {repo_id}")
    assert [pusher.hear() for pusher in pushers] == ["planned", "planned"]
    for pusher in pushers:
        pusher.tell("go")
    return [json.loads(pusher.hear()) for pusher in pushers]


def written(folder: Path, content: bytes) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(safetensors(content))
    (folder / "config.json").write_text(json.dumps({"of": content.hex()}))
    return folder


def contents(api: HfApi, repo_id: str, commit: str, cache: Path) -> dict[str, bytes]:
    folder = Path(api.snapshot_download(repo_id, revision=commit, cache_dir=cache))
    names = ("config.json", "model.safetensors")
    return {name: (folder / name).read_bytes() for name in names}


def test_different_contents_one_wins_and_one_is_refused(
    pushers: list[Pusher], api: HfApi, repo_id: str, tmp_path: Path
) -> None:
    api.create_repo(repo_id)
    for number in range(ROUNDS):
        folders = [written(tmp_path / f"{who}{number}", bytes([who, number])) for who in (1, 2)]
        said = push_at_once(pushers, folders, repo_id)
        [winner] = [index for index, one in enumerate(said) if "commit" in one]
        assert said[1 - winner]["error"] == "PushConflictError"
        assert "same command again" in said[1 - winner]["remedy"]
        head = api.repo_info(repo_id).sha
        assert head == said[winner]["commit"]
        expected = {path.name: path.read_bytes() for path in folders[winner].iterdir()}
        assert contents(api, repo_id, head, tmp_path / "cache") == expected
        assert len(api.list_repo_commits(repo_id)) == number + 2


def test_equal_contents_make_one_commit_that_both_give(
    pushers: list[Pusher], api: HfApi, repo_id: str, tmp_path: Path
) -> None:
    api.create_repo(repo_id)
    for number in range(ROUNDS):
        folder = written(tmp_path / str(number), bytes([number]))
        said = push_at_once(pushers, [folder, folder], repo_id)
        assert said == [{"commit": api.repo_info(repo_id).sha}] * 2
        assert len(api.list_repo_commits(repo_id)) == number + 2


def test_repository_that_both_would_make(
    pushers: list[Pusher], api: HfApi, repo_id: str, tmp_path: Path
) -> None:
    """Either they meet, and one is refused, or one comes after the other and builds on it."""
    folders = [written(tmp_path / str(who), bytes([who])) for who in (1, 2)]
    said = push_at_once(pushers, folders, repo_id)
    commits = [one["commit"] for one in said if "commit" in one]
    errors = [one["error"] for one in said if "error" in one]
    assert commits
    assert set(errors) <= {"PushConflictError"}
    made = [commit.commit_id for commit in api.list_repo_commits(repo_id)]
    assert sorted(made[:-1]) == sorted(commits)
    last = folders[[one.get("commit") for one in said].index(made[0])]
    expected = {path.name: path.read_bytes() for path in last.iterdir()}
    assert contents(api, repo_id, made[0], tmp_path / "cache") == expected
