"""A folder -> one commit on the Hub: checked before training, atomic, safe to repeat."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from json import JSONDecodeError
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import HfHubHTTPError

from hftune.core import RepoRef
from hftune.errors import HubError, PublishError, PushConflictError, RefError
from hftune.hub import failure, wording
from hftune.hub.branch import (
    PushTarget,
    errand_at,
    is_private,
    make_branch,
    read_branch,
)
from hftune.hub.client import (
    HubSettings,
    bound,
    open_api,
    pause_or_raise,
    settings_from_environment,
)
from hftune.hub.contents import CARD
from hftune.hub.proposal import at_own_pull, check_proposal, opens_pull
from hftune.hub.push_plan import PushPlan, mark_unchanged, plan_push
from hftune.hub.ref import check_repo_id, check_revision, is_commit
from hftune.hub.rights import check_rights, no_repository
from hftune.log import without_secrets
from hftune.units import format_size

__all__ = ["PushTarget", "carry_out", "check_names", "check_push", "make_commit", "push"]

logger = logging.getLogger(__name__)

# After these statuses, or none at all, a commit may have been made all the same.
_DOUBTFUL = frozenset({408, 409, 412, 500, 502, 503, 504})


def check_push(target: PushTarget, *, settings: HubSettings | None = None) -> None:
    """Raise unless a push to `target` would be let in: names, token, rights, visibility.

    Meant to be called before training; sends nothing but questions. Raises RefError,
    HubPermissionError and other HubErrors.
    """
    settings = settings or settings_from_environment()
    check_names(target)
    if target.pull_request:
        check_proposal(target, settings)
        return
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


def push(
    folder: Path, target: PushTarget, *, message: str, settings: HubSettings | None = None
) -> RepoRef:
    """Publish `folder` as one commit and give the reference with that commit.

    Makes the repository (private unless told otherwise) and the branch if they are missing. Files
    that the branch holds already are not sent; where all are, no commit is made and its head is
    given. Files of others stay. A pull request that is open under the title `message` gets the
    commit, where one is wanted. Raises PublishError, PushConflictError, HubError and its kin.
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
    target = at_own_pull(target, plan.message, settings)  # the commit may have opened it
    pushed = replace(target.ref(), folder=plan.folder)
    size = format_size(sum(file.size for file in plan.changed))
    where = f"{target.repo_id} at {target.revision}"
    logger.info("pushed %d files (%s) to %s as commit %s", len(plan.changed), size, where, commit)
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
        create_pr=opens_pull(plan.target),
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
        head = read_branch(at_own_pull(plan.target, plan.message, settings), settings)
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
