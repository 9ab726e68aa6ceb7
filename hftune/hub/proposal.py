"""A push as a pull request: found again while it is open, else opened by the commit itself."""

from dataclasses import replace

from hftune.errors import RefError, RepoNotFoundError
from hftune.hub.branch import PushTarget, errand_at, is_private
from hftune.hub.client import HubSettings, ask, open_api
from hftune.hub.ref import DEFAULT_REVISION
from hftune.hub.rights import whose_token

_PULL = "refs/pr/"


def opens_pull(target: PushTarget) -> bool:
    """Say whether a commit to `target` opens a pull request, for there is none yet."""
    return target.pull_request and not target.revision.startswith(_PULL)


def check_proposal(target: PushTarget, settings: HubSettings) -> None:
    """Raise unless there is a repository to propose to, and a token to do it with.

    The right to write there is not needed: its owners take the proposal, or do not. Raises
    RefError, HubPermissionError, RepoNotFoundError and other HubErrors.
    """
    if target.revision != DEFAULT_REVISION:
        raise RefError(
            "a pull request is for the main branch",
            found=repr(target.revision),
            allowed=DEFAULT_REVISION,
        )
    whose_token(target.repo_id, settings)
    if is_private(target, settings) is None:
        raise RepoNotFoundError(
            "there is no repository to propose this to, or this token may not see it",
            where=errand_at(target, "propose", settings).place,
            remedy="push without --pr, which makes the repository; or correct the name",
        )


def at_own_pull(target: PushTarget, title: str, settings: HubSettings) -> PushTarget:
    """Give `target` at the newest open pull request of this title by the token's owner.

    As it is where there is none, or where none is wanted. Raises HubError and its kin.
    """
    if not opens_pull(target):
        return target
    author = whose_token(target.repo_id, settings)
    api = open_api(settings)
    found = ask(
        settings,
        errand_at(target, "look for a pull request", settings),
        lambda: list(
            api.get_repo_discussions(
                target.repo_id,
                author=author,
                discussion_type="pull_request",
                discussion_status="open",
                repo_type=target.kind,
            )
        ),
    )
    numbers = [one.num for one in found if one.title == title and one.author == author]
    return replace(target, revision=f"{_PULL}{max(numbers)}") if numbers else target
