"""A folder -> one commit on the Hub: checked before training, planned, atomic, safe to repeat."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from json import JSONDecodeError
from pathlib import Path
from typing import Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import HfHubHTTPError

from hftune.core import RepoRef
from hftune.errors import HubError, PublishError, PushConflictError, RefError
from hftune.hub import failure, wording
from hftune.hub.branch import (
    Branch,
    PushTarget,
    errand_at,
    is_private,
    make_branch,
    read_branch,
    read_card,
)
from hftune.hub.card import keep_user_text
from hftune.hub.client import (
    HubSettings,
    bound,
    open_api,
    pause_or_raise,
    settings_from_environment,
    token_in_use,
)
from hftune.hub.contents import CARD, PushFile, of_content, read_contents
from hftune.hub.pull import PICKLES
from hftune.hub.ref import check_repo_id, check_revision, is_commit
from hftune.hub.rights import check_rights, no_repository
from hftune.hub.space import changed_there, keep_space_words
from hftune.log import without_secrets
from hftune.units import format_size

__all__ = ["PushPlan", "PushTarget", "carry_out", "check_push", "plan_push", "push"]

logger = logging.getLogger(__name__)

# After these statuses, or none at all, a commit may have been made all the same.
_DOUBTFUL = frozenset({408, 409, 412, 500, 502, 503, 504})


@dataclass(frozen=True, kw_only=True)
class PushPlan:
    """What a push would do.

    `parent` is the branch's head that it builds on, None for a new one. `removed` are paths that
    the branch shall hold no longer; `kept` are those of a Space that its users changed.
    """

    target: PushTarget
    folder: Path
    files: tuple[PushFile, ...]
    message: str
    parent: str | None
    creates: Literal["repository", "branch"] | None
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def changed(self) -> tuple[PushFile, ...]:
        """The files that differ from the branch."""
        return tuple(file for file in self.files if not file.unchanged)

    @property
    def unchanged(self) -> bool:
        """Whether the branch holds all of this already."""
        return self.creates is None and not self.changed and not self.removed

    @property
    def total(self) -> int:
        """The size of all files in bytes."""
        return sum(file.size for file in self.files)

    @property
    def creates_repo(self) -> bool:
        """Whether the repository does not exist yet."""
        return self.creates == "repository"


def check_push(target: PushTarget, *, settings: HubSettings | None = None) -> None:
    """Raise unless a push to `target` would be let in: names, token, rights, visibility.

    Meant to be called before training; sends nothing but questions. Raises RefError,
    HubPermissionError and other HubErrors.
    """
    settings = settings or settings_from_environment()
    check_names(target)
    may_create = check_rights(target.repo_id, settings)
    private = is_private(target, settings)
    if private is None and not may_create:
        raise no_repository(target.repo_id, settings)
    if private is not None and private != target.private:
        logger.warning(
            "%s exists and is %s, and what is pushed there will be so too; 'private' counts only"
            " for a repository that the push creates",
            target.repo_id,
            "private" if private else "public, so everybody can read it",
        )


def check_names(target: PushTarget) -> None:
    """Raise RefError unless the target could be a repository and a branch."""
    check_repo_id(target.repo_id)
    check_revision(target.revision)
    if is_commit(target.revision) or target.revision.startswith("refs/"):
        raise RefError(
            "a push goes to a branch",
            found=repr(target.revision),
            allowed="the name of a branch, which is made if it is missing",
        )


def plan_push(
    folder: Path,
    target: PushTarget,
    *,
    message: str = "Publish a model with hftune",
    settings: HubSettings | None = None,
) -> PushPlan:
    """Say what a push of `folder` would send and create; sends nothing but questions.

    Where the branch has a README.md, what its users wrote there is kept around our block, and of a
    Space every file that they changed. Raises PublishError for a folder that must not be published
    and a Space of others, and HubError and its kin.
    """
    settings = settings or settings_from_environment()
    contents = read_contents(folder, token=token_in_use(settings))
    branch = None
    creates: Literal["repository", "branch"] | None = "repository"
    kept: tuple[str, ...] = ()
    if is_private(target, settings) is not None:
        branch = read_branch(target, settings)
        creates = "branch" if branch is None else None
    if branch is not None:
        theirs = read_card(target, branch, settings)
        own = [_around_ours(file, folder, theirs, target) if theirs else file for file in contents]
        if target.kind == "space":
            kept = changed_there(own, branch, theirs, target)
        _point_out_pickles(branch)
        contents = mark_unchanged([file for file in own if file.path not in kept], branch)
    return PushPlan(
        target=target,
        folder=folder,
        files=contents,
        message=message,
        parent=None if branch is None else branch.commit,
        creates=creates,
        kept=kept,
    )


def push(
    folder: Path, target: PushTarget, *, message: str, settings: HubSettings | None = None
) -> RepoRef:
    """Publish `folder` as one commit and give the reference with that commit.

    Makes the repository (private unless told otherwise) and the branch if they are missing. Files
    that the branch holds already are not sent; where all are, no commit is made and its head is
    given. Files of others stay. Raises PublishError, PushConflictError, HubError and its kin.
    """
    settings = settings or settings_from_environment()
    check_push(target, settings=settings)
    return carry_out(plan_push(folder, target, message=message, settings=settings), settings)


def carry_out(plan: PushPlan, settings: HubSettings) -> RepoRef:
    """Do what a plan says; side effects are all on the Hub."""
    if plan.creates is not None:
        make_branch(plan.target, settings)
        plan = plan_push(plan.folder, plan.target, message=plan.message, settings=settings)
    target = plan.target
    pushed = replace(target.ref(), folder=plan.folder)
    if plan.unchanged:
        logger.info("%s holds all of this already, at %s", target.repo_id, plan.parent)
        return replace(pushed, commit=plan.parent)
    with _remarks_told():
        commit = make_commit(plan, settings)
    size = format_size(sum(file.size for file in plan.changed))
    logger.info(
        "pushed %d files (%s) to %s as commit %s", len(plan.changed), size, target.repo_id, commit
    )
    return replace(pushed, commit=commit)


def make_commit(plan: PushPlan, settings: HubSettings) -> str:
    """Make the commit and give its id; after a failure that leaves it open, look before retrying.

    The parent guards it: a branch that moved in between is a conflict, unless it moved to this very
    content. Raises PushConflictError, PublishError, HubError and its kin.
    """
    errand = errand_at(plan.target, "push", settings)
    attempt = 1
    while True:
        bound(settings)
        try:
            return _send(plan, settings)
        except failure.CLIENT_ERRORS as error:
            _refuse_odd_answer(error, plan, settings)
            status = failure.status_of(error)
            if status is None or status in _DOUBTFUL:
                settled = _settled(plan, settings)
                if settled is not None:
                    logger.info("the commit stands, although its reply was lost: %s", settled)
                    return settled
            pause_or_raise(settings, errand, error, attempt)
        attempt += 1


def _send(plan: PushPlan, settings: HubSettings) -> str:
    # The library marks operations as spent, so each attempt makes its own.
    operations = [
        CommitOperationAdd(
            path_in_repo=file.path,
            path_or_fileobj=file.content
            if file.content is not None
            else str(plan.folder / file.path),
        )
        for file in plan.changed
    ]
    info = open_api(settings).create_commit(
        plan.target.repo_id,
        [*operations, *(CommitOperationDelete(path_in_repo=path) for path in plan.removed)],
        commit_message=plan.message,
        repo_type=plan.target.kind,
        revision=plan.target.revision,
        parent_commit=plan.parent,
    )
    return info.oid


@contextmanager
def _remarks_told() -> Iterator[None]:
    """Log what the Hub remarks about the card; changes the process's warnings, so one thread."""
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("ignore")  # the library's own deprecations
        warnings.simplefilter("always", UserWarning)  # the Hub's remarks
        yield
    for remark in remarks:
        logger.warning("%s", remark.message)


def _settled(plan: PushPlan, settings: HubSettings) -> str | None:
    """Give the branch's head if it holds all of the plan; None if nothing has happened.

    Raises PushConflictError when the branch holds something else, HubError when it cannot be seen.
    """
    try:
        head = read_branch(plan.target, settings)
    except HubError as error:
        raise HubError(
            "the connection broke during the push, and whether the commit was made is unknown",
            found=error.found,
            where=errand_at(plan.target, "push", settings).place,
            remedy="run the same command again; it looks before it sends anything",
        ) from error
    if head is None or head.commit == plan.parent:
        return None
    held = all(file.unchanged for file in mark_unchanged(plan.files, head))
    if held and head.files.keys().isdisjoint(plan.removed):
        return head.commit
    raise PushConflictError(
        "somebody else changed the branch during the push; nothing of ours was committed",
        found=f"head {head.commit}",
        allowed=f"head {plan.parent}",
        where=errand_at(plan.target, "push", settings).place,
        remedy="look at the new commit, then run the same command again",
    )


def _around_ours(file: PushFile, folder: Path, theirs: str, target: PushTarget) -> PushFile:
    """Give the card with what users wrote in `theirs` around our block; other files as they are."""
    if file.path != CARD:
        return file
    own = (folder / CARD).read_text(encoding="utf-8")
    keep = keep_space_words if target.kind == "space" else keep_user_text
    card = keep(own, theirs)
    return file if card == own else of_content(CARD, card.encode("utf-8"))


def mark_unchanged(contents: Sequence[PushFile], branch: Branch) -> tuple[PushFile, ...]:
    """Mark the files that the branch holds already."""
    return tuple(
        replace(
            file,
            unchanged=branch.holds(file.path, sha256=file.sha256, blob_id=file.blob_id),
        )
        for file in contents
    )


def _point_out_pickles(branch: Branch) -> None:
    """Warn of pickles on the branch, which loaders may prefer."""
    pickles = [path for path in branch.files if Path(path).suffix.lower() in PICKLES]
    if pickles:
        logger.warning("the repository also holds %s; consider removing it", ", ".join(pickles[:3]))


def _refuse_odd_answer(error: Exception, plan: PushPlan, settings: HubSettings) -> None:
    """Raise in our words what the library calls a ValueError, all of it before the commit.

    It is what the Hub refused in the card's metadata, or an answer that is not as it should be.
    """
    if not isinstance(error, ValueError) or isinstance(error, HfHubHTTPError | JSONDecodeError):
        return
    if CARD in str(error):
        raise PublishError(
            "the Hub refuses the metadata in README.md; nothing was sent",
            found=without_secrets(str(error)),
            where=str(plan.folder / CARD),
        ) from error
    errand = errand_at(plan.target, "push", settings)
    raise wording.odd_answer(errand, failure.short_cause(error)) from error
