"""The branch that a push goes to: what it holds, and how it comes to be."""

import logging
from dataclasses import dataclass

from hftune.core import RepoKind, RepoRef
from hftune.errors import HubError, RepoNotFoundError
from hftune.hub.client import HubSettings, ask, open_api
from hftune.hub.contents import CARD
from hftune.hub.failure import Errand
from hftune.hub.listing import RemoteFile, ask_listing
from hftune.hub.pull import pull
from hftune.hub.ref import DEFAULT_REVISION

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PushTarget:
    """Where to push. `private` matters only for a repository that the push creates.

    With `pull_request` the commit is proposed to the main branch of a repository that exists, in a
    pull request of its own.
    """

    repo_id: str
    private: bool = True
    revision: str = DEFAULT_REVISION
    kind: RepoKind = "model"
    pull_request: bool = False

    def ref(self, commit: str | None = None) -> RepoRef:
        """Give the reference to the branch, or to a commit on it."""
        return RepoRef(kind=self.kind, repo_id=self.repo_id, revision=self.revision, commit=commit)


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A branch at one moment: its head, and its files by path."""

    commit: str
    files: dict[str, RemoteFile]

    def holds(self, path: str, *, sha256: str, blob_id: str) -> bool:
        """Say whether the file at `path` has this content."""
        file = self.files.get(path)
        if file is None:
            return False
        return file.sha256 == sha256 if file.sha256 is not None else file.blob_id == blob_id


def is_private(target: PushTarget, settings: HubSettings) -> bool | None:
    """Say whether the repository is private; None if there is none that this token may see."""
    api = open_api(settings)
    try:
        info = ask(
            settings,
            errand_at(target, "look for the repository", settings),
            lambda: api.repo_info(target.repo_id, repo_type=target.kind, timeout=settings.timeout),
        )
    except RepoNotFoundError:
        return None
    return bool(info.private)


def read_branch(target: PushTarget, settings: HubSettings) -> Branch | None:
    """Read the head of the target's branch and its files; None if there is no such branch."""
    api = open_api(settings)
    try:
        info = ask(
            settings,
            errand_at(target, "look at the branch", settings),
            lambda: api.repo_info(
                target.repo_id,
                repo_type=target.kind,
                revision=target.revision,
                timeout=settings.timeout,
            ),
        )
    except RepoNotFoundError:
        return None
    assert info.sha is not None
    listing = ask_listing(target.ref(info.sha), settings)
    return Branch(commit=info.sha, files={file.path: file for file in listing})


def read_card(target: PushTarget, branch: Branch, settings: HubSettings) -> str | None:
    """Give the text of the branch's README.md, compared with its digest; None if it has none."""
    if CARD not in branch.files:
        return None
    folder = pull(target.ref(branch.commit), files=[CARD], settings=settings).folder
    assert folder is not None
    return (folder / CARD).read_text(encoding="utf-8-sig")


def make_branch(target: PushTarget, settings: HubSettings) -> None:
    """Make repository and branch on the Hub; what exists by now is left as it is.

    Raises HubError and its kin, also where the Hub says that it made what is not there.
    """
    api = open_api(settings)
    ask(
        settings,
        errand_at(target, "create the repository", settings),
        lambda: api.create_repo(
            target.repo_id,
            repo_type=target.kind,
            space_sdk="gradio" if target.kind == "space" else None,
            private=target.private,
            exist_ok=True,
        ),
    )
    if target.revision != DEFAULT_REVISION:
        ask(
            settings,
            errand_at(target, "create the branch", settings),
            lambda: api.create_branch(
                target.repo_id, branch=target.revision, repo_type=target.kind, exist_ok=True
            ),
        )
    if read_branch(target, settings) is None:
        errand = errand_at(target, "create the branch", settings)
        raise HubError(
            f"could not {errand.doing}: the Hub said that it did",
            found="it is not there",
            where=errand.place,
            remedy=errand.again,
        )


def errand_at(target: PushTarget, doing: str, settings: HubSettings) -> Errand:
    """Give the errand for something done to the target."""
    return Errand(
        doing=doing,
        endpoint=settings.endpoint,
        kind=target.kind,
        repo_id=target.repo_id,
        revision=target.revision,
        safe="nothing was committed, and what arrived before is not sent again",
    )
