"""The state of a run on a branch of its own: sent as one commit, brought back whole."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from hftune.core import RepoRef
from hftune.errors import PublishError, PushConflictError
from hftune.files import disk_errors
from hftune.hub.branch import Branch, PushTarget, errand_at, make_branch, read_branch
from hftune.hub.client import HubSettings, ask, open_api, settings_from_environment, token_in_use
from hftune.hub.contents import of_content, read_state
from hftune.hub.pull import pull
from hftune.hub.push import check_names, make_commit
from hftune.hub.push_plan import PushPlan, mark_unchanged
from hftune.hub.ref import DEFAULT_REVISION

logger = logging.getLogger(__name__)

# Says whose state a branch holds; a branch without it is none of ours.
MIRROR_FILE = "mirror.json"
_STAYS = ".gitattributes"


def send_state(
    folder: Path,
    target: PushTarget,
    *,
    message: str,
    seen: Sequence[bytes],
    settings: HubSettings | None = None,
) -> RepoRef:
    """Make the branch hold exactly the files of `folder`, as one commit, and give its reference.

    `folder` has a `mirror.json`; `seen` are the contents of the branch's own that this run has
    read from it or sent to it, and only one of these is replaced. Makes the repository and the
    branch if they are missing. What the Hub has already is not sent. Raises PushConflictError where
    another run or process has sent its own state, PublishError, and HubError and its kin.
    """
    settings = settings or settings_from_environment()
    contents = read_state(folder, token=token_in_use(settings))
    branch = _open_branch(target, settings)
    if MIRROR_FILE in branch.files and not _holds_any(branch, seen):
        raise PushConflictError(
            "another process has sent its own state to this branch",
            found=f"a {MIRROR_FILE} that is not from here, in commit {branch.commit}",
            where=errand_at(target, "send a state", settings).place,
            remedy="end one of the two; the other goes on by its same command",
        )
    kept = {file.path for file in contents} | {_STAYS}
    plan = PushPlan(
        target=target,
        folder=folder,
        files=mark_unchanged(contents, branch),
        removed=tuple(sorted(branch.files.keys() - kept)),
        message=message,
        parent=branch.commit,
        creates=None,
    )
    with _without_bars():
        commit = branch.commit if plan.unchanged else make_commit(plan, settings)
    return RepoRef(repo_id=target.repo_id, revision=target.revision, commit=commit)


def forget_history(target: PushTarget, *, settings: HubSettings | None = None) -> None:
    """Make the branch's newest state its only commit, so that the Hub can free the older ones.

    Raises HubError and its kin; the newest state is there all the same.
    """
    settings = settings or settings_from_environment()
    api = open_api(settings)
    ask(
        settings,
        errand_at(target, "squash the branch's history", settings),
        lambda: api.super_squash_history(
            target.repo_id, branch=target.revision, commit_message="The newest state"
        ),
    )


def find_state(target: PushTarget, *, settings: HubSettings | None = None) -> RepoRef | None:
    """Give the newest state's reference with its commit, None where nothing was sent yet.

    Raises PublishError where the branch holds something else, RefError, and HubError and its kin.
    """
    settings = settings or settings_from_environment()
    check_names(target)
    branch = read_branch(target, settings)
    if branch is None:
        return None
    if MIRROR_FILE not in branch.files:
        _check_unused(branch, target, settings)
        return None
    return RepoRef(repo_id=target.repo_id, revision=target.revision, commit=branch.commit)


def fetch_state(
    ref: RepoRef,
    folder: Path,
    *,
    files: Sequence[str] = ("*",),
    settings: HubSettings | None = None,
) -> None:
    """Bring the files of a state, by name or pattern, into the new `folder`, whole or not at all.

    Each is compared with the digest in the Hub's listing. They leave nothing in the shared cache,
    which would keep every state that was ever fetched. Raises HubError and its kin, DiskError.
    """
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"
        ) as cache:
            pull(ref, files=files, to=folder, cache_dir=Path(cache), settings=settings)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep the client library's bars from the screen, which belongs to the training's own."""
    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _open_branch(target: PushTarget, settings: HubSettings) -> Branch:
    """Read the branch, made first where it is missing. Raises PublishError for one in other use."""
    branch = read_branch(target, settings)
    if branch is None:
        make_branch(target, settings)
        branch = read_branch(target, settings)
        assert branch is not None
    if MIRROR_FILE not in branch.files:
        _check_unused(branch, target, settings)
    return branch


def _check_unused(branch: Branch, target: PushTarget, settings: HubSettings) -> None:
    """Raise PublishError unless the branch is as it was made: at a commit of main.

    Sending a state takes away all else, so a branch with work of its own must not be taken.
    """
    api = open_api(settings)
    commits = ask(
        settings,
        errand_at(target, "read the history of main", settings),
        lambda: api.list_repo_commits(target.repo_id, revision=DEFAULT_REVISION),
    )
    if branch.commit not in {commit.commit_id for commit in commits}:
        raise PublishError(
            "this branch holds something other than the state of a run",
            found=f"commit {branch.commit}, without {MIRROR_FILE}",
            allowed="a branch that hftune made, or a name that is not taken",
            where=errand_at(target, "send a state", settings).place,
            remedy="name another one with save.push_branch=NAME, or delete this one",
        )


def _holds_any(branch: Branch, seen: Sequence[bytes]) -> bool:
    files = [of_content(MIRROR_FILE, content) for content in seen]
    return any(branch.holds(file.path, sha256=file.sha256, blob_id=file.blob_id) for file in files)
