"""One request of a pull or a push under one fault, and what must hold whatever becomes of it."""

import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from unittest.mock import patch

from huggingface_hub import CommitOperationAdd, HfApi

from hftune.errors import HftuneError, HubError
from hftune.hub.client import HubSettings
from hftune.hub.listing import git_digest
from hftune.hub.pull import pull
from hftune.hub.push import PushTarget, push
from hftune.hub.ref import parse_ref
from hftune.hub.server import RunningHub, lfs, running
from hftune.hub.server.names import repo_name
from hftune.hub.server.store import Store
from hftune.hub.session import bound_session
from tests.hub.faulty import FAULTS, Fault, Kind, faulty

Job = Literal["pull", "push"]


PULLED: tuple[Kind, ...] = ("info", "tree", "head", "get small", "get large")
PUSHED: tuple[Kind, ...] = (
    *("whoami", "info", "create", "branch", "tree", "head", "get small", "validate"),
    *("preupload", "batch", "put", "part", "complete", "verify", "commit"),
)
_CHANGES: frozenset[Kind] = frozenset(
    {"create", "branch", "put", "part", "complete", "verify", "commit"}
)
_CONTENTS: frozenset[Kind] = frozenset({"get small", "get large", "put", "part"})
_CARD = b"---\nlibrary_name: timm\n---\n\nWords of a user.\n"
_MODEL = {"config.json": b'{"a": 1}', "README.md": _CARD, "model.safetensors": b"\x01\x02" * 9000}
_PART_SIZE = 64 << 10
ATTEMPTS = 3
# Seconds that a machine under load may need to answer; no test waits for them.
_PATIENCE = 30.0
# In each attempt the client library itself asks up to seven times, here for each of three files.
_MOST = 7 * ATTEMPTS * 3


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One request kind of one job under one fault, `times` times or, with None, for ever."""

    job: Job
    kind: Kind
    fault: Fault
    times: int | None

    def __str__(self) -> str:
        often = "for ever" if self.times is None else f"{self.times}x"
        return f"{self.job}, {self.kind}: {self.fault.name} {often}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a cell: None, or the one error's text; how often the request was made."""

    cell: Cell
    error: str | None
    requests: int


def cells(jobs: Sequence[Job] = ("pull", "push"), *, times: int | None = 1) -> Iterator[Cell]:
    for job in jobs:
        for kind in PULLED if job == "pull" else PUSHED:
            for fault in FAULTS.values():
                if applies(fault, kind):
                    yield Cell(job=job, kind=kind, fault=fault, times=times)


def applies(fault: Fault, kind: Kind) -> bool:
    """Say whether a fault differs from the others here: what changes nothing can be lost twice."""
    if fault.ending == "flipped":
        return kind in _CONTENTS
    if fault.reaches and fault.ending in ("reset", "stall"):
        return kind in _CHANGES
    return True


def passes_by(cell: Cell) -> bool:
    """Say whether asking again helps, if the fault comes less often than there are attempts."""
    if cell.fault.reply is not None:
        asks_long = cell.fault.reply.headers.get("Retry-After") == "3600"
        return cell.fault.reply.status != 200 and not asks_long
    return cell.fault.ending != "flipped" or cell.kind not in ("put", "part")


def try_cell(cell: Cell, hub: RunningHub, folder: Path) -> Outcome:
    """Do the job under the fault, check what it left, heal the Hub, and do the same job again.

    Raises AssertionError for a broken promise, and whatever is no HftuneError.
    """
    work = folder / re.sub(r"\W+", "-", str(cell)).strip("-")
    repo_id = f"local/{work.name[:60]}-{hashlib.sha256(str(cell).encode()).hexdigest()[:6]}"
    attempt = _attempt_pull if cell.job == "pull" else _attempt_push
    bound_session(silence=_PATIENCE, pause=_PATIENCE)
    _prepare(hub, repo_id, cell)
    with faulty(hub.endpoint) as proxy:
        settings = HubSettings(
            endpoint=proxy.endpoint,
            token=hub.write_token,
            cache=work / "cache",
            attempts=ATTEMPTS,
            first_pause=0.01,
            longest_pause=2.0,
            timeout=1.0 if cell.fault.ending == "stall" else _PATIENCE,
        )
        proxy.spoil(cell.kind, cell.fault, times=cell.times)
        error = attempt(cell, hub, repo_id, settings, work)
        requests = proxy.count(cell.kind)
        assert 1 <= requests <= _MOST, (cell, requests)
        if error is not None:
            _check_error(error)
            assert not (cell.times and passes_by(cell)), (cell, error)
        proxy.heal()
        settings = replace(settings, timeout=_PATIENCE)
        last = attempt(cell, hub, repo_id, settings, work)
        assert last is None, (cell, last)
        if cell.kind in ("verify", "commit"):
            assert proxy.sent("put", "part") == 0, "a finished file was sent again"
    return Outcome(cell=cell, error=None if error is None else str(error), requests=requests)


def _prepare(hub: RunningHub, repo_id: str, cell: Cell) -> None:
    """Make the repository that is pulled, or the one whose card a push reads."""
    contents = _MODEL if cell.job == "pull" else {"README.md": _CARD}
    if cell.job == "push" and cell.kind not in ("head", "get small"):
        return
    api = HfApi(endpoint=hub.endpoint, token=hub.write_token)
    api.create_repo(repo_id)
    operations = [
        CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)
        for path, content in contents.items()
    ]
    api.create_commit(repo_id, operations, commit_message="seed")


def _attempt_pull(
    cell: Cell, hub: RunningHub, repo_id: str, settings: HubSettings, work: Path
) -> HftuneError | None:
    """Pull; whatever happens, the cache shows right contents only."""
    error = None
    try:
        got = pull(parse_ref(repo_id), settings=settings)
    except HftuneError as caught:
        error = caught
    else:
        assert got.folder is not None
        found = {path.name: path.read_bytes() for path in got.folder.iterdir()}
        assert found == _MODEL, cell
    for path in settings.cache.glob("*/snapshots/*/*"):
        assert path.read_bytes() == _MODEL[path.name], (cell, path)
    _check_blobs(settings.cache)
    return error


def _attempt_push(
    cell: Cell, hub: RunningHub, repo_id: str, settings: HubSettings, work: Path
) -> HftuneError | None:
    """Push; the branch holds all of it in one commit, or nothing of it."""
    artifact, target = _artifact(work), PushTarget(repo_id=repo_id, revision="trial")
    error = None
    try:
        push(artifact, target, message="m", settings=settings)
    except HftuneError as caught:
        error = caught
    titles, content = _branch(hub, repo_id)
    assert titles.count("m") == (1 if "m" in titles or error is None else 0), (cell, titles)
    if "m" in titles:
        for path in artifact.iterdir():
            if path.name != "README.md":
                assert content[path.name] == path.read_bytes(), (cell, path)
    else:
        assert "extra.safetensors" not in content, cell
    _check_blobs(settings.cache)
    return error


def _artifact(work: Path) -> Path:
    """Make what is pushed: texts, a file for one PUT and one that goes in parts."""
    folder = work / "artifact"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        (folder / "README.md").write_text("---\nlibrary_name: timm\n---\n\n# A model\n")
        (folder / "config.json").write_text("{}")
        own = work.name.encode()
        (folder / "model.safetensors").write_bytes(own + b"\x00\x01" * 9000)
        (folder / "extra.safetensors").write_bytes(own + b"\x00\x03" * _PART_SIZE)
    return folder


def _branch(hub: RunningHub, repo_id: str) -> tuple[list[str], dict[str, bytes]]:
    """Give titles and contents of the branch, as they lie on the Hub's disk."""
    repo = Store(hub.root).find(repo_name("model", *repo_id.split("/")))
    if repo is None or repo.ref("heads", "trial") is None:
        return [], {}
    head = repo.resolve("trial")
    titles = [commit.title for commit in repo.history(head)]
    return titles, {
        path: repo.blobs.path(entry.etag).read_bytes() for path, entry in head.tree.items()
    }


def _check_blobs(cache: Path) -> None:
    """Raise AssertionError for a file in the cache whose content is not what its name says."""
    for blob in cache.glob("*/blobs/*"):
        if blob.suffix == ".incomplete":
            raise AssertionError(f"a partial file was left: {blob}")
        digest = hashlib.sha256(blob.read_bytes()).hexdigest()
        assert blob.name in (digest, git_digest(blob)), blob


def _check_error(error: HftuneError) -> None:
    """Raise AssertionError unless an error says what came back, where, and what continues."""
    assert isinstance(error, HubError), repr(error)
    assert error.exit_code == 3
    for fact in (error.found, error.where, error.remedy):
        assert fact, str(error)
    assert "run the same command again" in str(error) or "run 'hftune pull " in str(error), error


@contextmanager
def small_parts() -> Iterator[None]:
    """Let the local Hub take files in parts from a size on that is no burden."""
    with patch.multiple(lfs, MULTIPART_ABOVE=_PART_SIZE, PART_SIZE=_PART_SIZE):
        yield


def try_cells(wanted: Sequence[Cell]) -> list[Outcome]:
    """Try cells one after the other, on a Hub of their own."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        running(Path(scratch) / "hub") as hub,
        small_parts(),
    ):
        return [try_cell(cell, hub, Path(scratch)) for cell in wanted]
