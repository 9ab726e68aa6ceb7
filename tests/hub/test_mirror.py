"""A branch that holds the state of a run: whole, guarded, and nobody else's."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hftune.errors import HubError, OfflineError, PublishError, PushConflictError, RefError
from hftune.hub.branch import PushTarget
from hftune.hub.client import HubSettings
from hftune.hub.mirror import MIRROR_FILE, fetch_state, find_state, forget_history, send_state

MakeRepo = Callable[..., str]
FIRST, SECOND, OTHER = b'{"step": 1}\n', b'{"step": 2}\n', b'{"step": 9}\n'


@pytest.fixture
def target(repo_id: str) -> PushTarget:
    return PushTarget(repo_id=repo_id, revision="checkpoints")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state after step 1: a checkpoint, a line of metrics, and whose it is."""
    return fill(tmp_path / "state", step=1, marker=FIRST)


def fill(folder: Path, *, step: int, marker: bytes) -> Path:
    checkpoint = folder / f"checkpoints/step-{step:08d}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "optimizer.safetensors").write_bytes(bytes([step]) * 5000)
    (checkpoint / "state.json").write_text(f'{{"step": {step}}}\n')
    (folder / "metrics.jsonl").write_text('{"step": 1}\n' * step)
    (folder / MIRROR_FILE).write_bytes(marker)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".gitattributes"
    }


def titles(api: HfApi, target: PushTarget) -> list[str]:
    commits = api.list_repo_commits(target.repo_id, revision=target.revision)
    return [commit.title for commit in commits]


def test_what_was_sent_is_found_and_fetched(
    state: Path, target: PushTarget, settings: HubSettings, tmp_path: Path
) -> None:
    assert find_state(target, settings=settings) is None
    sent = send_state(state, target, message="step 1", seen=(), settings=settings)
    found = find_state(target, settings=settings)
    assert found == sent
    fetch_state(found, tmp_path / "there", settings=settings)
    assert contents(tmp_path / "there") == contents(state)
    assert {path.name for path in tmp_path.iterdir()} == {"state", "there"}


def test_single_files_can_be_fetched_first(
    state: Path, target: PushTarget, settings: HubSettings, tmp_path: Path
) -> None:
    ref = send_state(state, target, message="step 1", seen=(), settings=settings)
    fetch_state(ref, tmp_path / "there", files=(MIRROR_FILE,), settings=settings)
    assert contents(tmp_path / "there") == {MIRROR_FILE: FIRST}


def test_the_next_state_takes_the_place_of_the_last_in_one_commit(
    state: Path, target: PushTarget, settings: HubSettings, api: HfApi, tmp_path: Path
) -> None:
    send_state(state, target, message="step 1", seen=(), settings=settings)
    later = fill(tmp_path / "later", step=2, marker=SECOND)
    ref = send_state(later, target, message="step 2", seen=[FIRST], settings=settings)
    fetch_state(ref, tmp_path / "there", settings=settings)
    assert contents(tmp_path / "there") == contents(later)
    assert titles(api, target) == ["step 2", "step 1", "initial commit"]


def test_the_same_state_makes_no_second_commit(
    state: Path, target: PushTarget, settings: HubSettings, api: HfApi
) -> None:
    first = send_state(state, target, message="step 1", seen=(), settings=settings)
    assert send_state(state, target, message="x", seen=[FIRST], settings=settings) == first
    assert titles(api, target) == ["step 1", "initial commit"]


def test_the_published_model_stays_and_is_not_in_the_state(
    state: Path,
    target: PushTarget,
    settings: HubSettings,
    make_repo: MakeRepo,
    api: HfApi,
    tmp_path: Path,
) -> None:
    head = make_repo({"model.safetensors": b"weights", "config.json": b"{}"})
    ref = send_state(state, target, message="step 1", seen=(), settings=settings)
    assert api.repo_info(target.repo_id).sha == head
    fetch_state(ref, tmp_path / "there", settings=settings)
    assert contents(tmp_path / "there") == contents(state)


def test_a_branch_that_was_made_and_never_written_is_taken(
    state: Path, target: PushTarget, settings: HubSettings, make_repo: MakeRepo, api: HfApi
) -> None:
    make_repo({"a.txt": b"a"})
    api.create_branch(target.repo_id, branch=target.revision)
    make_repo({"b.txt": b"b"})  # main moves on
    assert find_state(target, settings=settings) is None
    send_state(state, target, message="step 1", seen=(), settings=settings)
    assert titles(api, target)[0] == "step 1"


def test_a_branch_with_work_of_others_is_refused_and_left_alone(
    state: Path, target: PushTarget, settings: HubSettings, make_repo: MakeRepo, api: HfApi
) -> None:
    make_repo({"a.txt": b"a"})
    api.create_branch(target.repo_id, branch=target.revision)
    work = CommitOperationAdd(path_in_repo="mine.txt", path_or_fileobj=b"mine")
    head = api.create_commit(
        target.repo_id, [work], commit_message="mine", revision=target.revision
    ).oid
    with pytest.raises(PublishError, match="something other") as caught:
        find_state(target, settings=settings)
    assert "save.push_branch=NAME" in str(caught.value)
    with pytest.raises(PublishError, match="something other"):
        send_state(state, target, message="step 1", seen=(), settings=settings)
    assert api.repo_info(target.repo_id, revision=target.revision).sha == head


@pytest.mark.parametrize("seen", [(), (OTHER,)])
def test_the_state_of_another_process_is_not_replaced(
    seen: tuple[bytes, ...],
    state: Path,
    target: PushTarget,
    settings: HubSettings,
    api: HfApi,
    tmp_path: Path,
) -> None:
    send_state(state, target, message="step 1", seen=(), settings=settings)
    later = fill(tmp_path / "later", step=2, marker=SECOND)
    with pytest.raises(PushConflictError, match="another process") as caught:
        send_state(later, target, message="step 2", seen=seen, settings=settings)
    assert "end one of the two" in str(caught.value)
    assert titles(api, target)[0] == "step 1"


def test_a_squashed_branch_holds_the_newest_state_alone_and_goes_on(
    state: Path, target: PushTarget, settings: HubSettings, api: HfApi, tmp_path: Path
) -> None:
    send_state(state, target, message="step 1", seen=(), settings=settings)
    forget_history(target, settings=settings)
    assert titles(api, target) == ["The newest state"]
    later = fill(tmp_path / "later", step=2, marker=SECOND)
    ref = send_state(later, target, message="step 2", seen=[FIRST], settings=settings)
    fetch_state(ref, tmp_path / "there", settings=settings)
    assert contents(tmp_path / "there") == contents(later)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("model.bin", b"\x80\x02", "neither safetensors"),
        ("notes.json", b'{"token": "hf_' + b"a1B2" * 8 + b'"}', "an access token"),
        ("notes.json", b'{"at": "%s/images"}' % str(Path.home()).encode(), "a path of this"),
        (".hidden.json", b"{}", "hidden"),
    ],
)
def test_what_must_not_leave_the_machine_is_named_and_nothing_is_sent(
    name: str,
    content: bytes,
    reason: str,
    state: Path,
    target: PushTarget,
    settings: HubSettings,
    api: HfApi,
) -> None:
    (state / name).write_bytes(content)
    with pytest.raises(PublishError, match="must not leave") as caught:
        send_state(state, target, message="x", seen=(), settings=settings)
    assert name in str(caught.value)
    assert reason in str(caught.value)
    assert "a1B2" not in str(caught.value)
    assert not api.repo_exists(target.repo_id)


def test_a_link_out_of_the_folder_is_not_followed(
    state: Path, target: PushTarget, settings: HubSettings, tmp_path: Path
) -> None:
    (tmp_path / "secret.json").write_text("{}")
    (state / "link.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(PublishError, match="must not leave") as caught:
        send_state(state, target, message="x", seen=(), settings=settings)
    assert "a link to something outside" in str(caught.value)


@pytest.mark.parametrize("revision", ["x y", "0" * 40, "refs/pr/1"])
def test_names_that_are_no_branch(revision: str, target: PushTarget, settings: HubSettings) -> None:
    with pytest.raises(RefError):
        find_state(replace(target, revision=revision), settings=settings)


def test_a_state_damaged_on_the_way_leaves_no_folder(
    state: Path, target: PushTarget, settings: HubSettings, tmp_path: Path, client_hub
) -> None:
    ref = send_state(state, target, message="step 1", seen=(), settings=settings)
    weights = (state / "checkpoints/step-00000001/optimizer.safetensors").read_bytes()
    (blob,) = [
        path
        for path in client_hub.root.rglob("*")
        if path.is_file() and target.repo_id in str(path) and path.read_bytes() == weights
    ]
    blob.write_bytes(b"\x02" * len(weights))
    with pytest.raises(HubError, match="not what"):
        fetch_state(ref, tmp_path / "there", settings=settings)
    assert {path.name for path in tmp_path.iterdir()} == {"state"}


# States after steps 2, 3, 4 ..., one after the other; each that was answered is printed.
SEND = """
import os, sys
from pathlib import Path
from hftune.hub.branch import PushTarget
from hftune.hub.client import HubSettings
from hftune.hub.mirror import send_state
endpoint, token, repo_id, folder, first = sys.argv[1:]
folder = Path(folder)
target = PushTarget(repo_id=repo_id, revision="checkpoints")
settings = HubSettings(endpoint=endpoint, token=token, cache=folder / "cache")
seen = [first.encode()]
for step in range(2, 10_000):
    state = folder / str(step)
    state.mkdir()
    for name in ("one", "two"):
        (state / f"{name}.safetensors").write_bytes(step.to_bytes(8, "little") * 200_000)
    seen.append(b'{"step": %d}' % step)
    (state / "mirror.json").write_bytes(seen[-1])
    send_state(state, target, message=str(step), seen=seen, settings=settings)
    print(step, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.15])
def test_a_sender_that_is_killed_leaves_the_last_whole_state(
    seconds: float, state: Path, target: PushTarget, settings: HubSettings, tmp_path: Path
) -> None:
    send_state(state, target, message="1", seen=(), settings=settings)
    (tmp_path / "sender").mkdir()
    words = [settings.endpoint, str(settings.token), target.repo_id, str(tmp_path / "sender")]
    line = [sys.executable, "-W", "ignore", "-c", SEND, *words, FIRST.decode()]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None
        answered = [int(sender.stdout.readline())]
        time.sleep(seconds)
        sender.kill()
        answered += map(int, sender.stdout.read().split())
    ref = find_state(target, settings=settings)
    assert ref is not None
    fetch_state(ref, tmp_path / "there", settings=settings)
    found = contents(tmp_path / "there")
    step = json.loads(found.pop(MIRROR_FILE))["step"]
    assert step - answered[-1] in (0, 1)  # the one under way may have come through unanswered
    weights = step.to_bytes(8, "little") * 200_000
    assert found == {"one.safetensors": weights, "two.safetensors": weights}


def test_a_hub_that_cannot_be_reached_is_one_error(
    state: Path, target: PushTarget, unreachable: HubSettings, tmp_path: Path
) -> None:
    with pytest.raises(OfflineError):
        find_state(target, settings=unreachable)
    with pytest.raises(OfflineError):
        send_state(state, target, message="x", seen=(), settings=unreachable)
