"""What a push would do: which files it sends, which it keeps, and what it builds on."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hftune.hub.branch import Branch, PushTarget, is_private, read_branch, read_card
from hftune.hub.card import keep_user_text
from hftune.hub.client import HubSettings, settings_from_environment, token_in_use
from hftune.hub.contents import CARD, PushFile, of_content, read_contents
from hftune.hub.proposal import at_own_pull
from hftune.hub.pull import PICKLES
from hftune.hub.space import changed_there, keep_space_words

logger = logging.getLogger(__name__)


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
    target = at_own_pull(target, message, settings)
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
