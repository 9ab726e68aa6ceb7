"""A text -> a repository on the Hub or a folder on this machine; nothing is looked up here."""

import re
from pathlib import Path

from hftune.core import RepoKind, RepoRef
from hftune.errors import RefError
from hftune.files import user_path

DEFAULT_REVISION = "main"

_PREFIX = re.compile(r"hf[-_]hub:")
_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_COMMIT = re.compile(r"[0-9a-fA-F]{40}")
_BAD_IN_REVISION = re.compile(r"[\s~^:?*\[\\\x00-\x1f\x7f]|\.\.|//|@\{")
_LONGEST_NAME = 96
_FORMS = "org/name, org/name@revision, hf-hub:org/name, or a folder such as ./folder"


def parse_ref(text: str, *, kind: RepoKind = "model", revision: str | None = None) -> RepoRef:
    """Read 'org/name', 'org/name@revision', 'hf-hub:org/name' or a folder.

    A text that starts with '.', '/' or '~', and any folder that exists, is a folder; 'hf-hub:'
    always means the Hub. `revision` must agree with one in the text. Raises RefError.
    """
    wanted = text.strip()
    on_hub = _PREFIX.match(wanted)
    if on_hub is None and _is_path(wanted):
        return _folder_ref(wanted, kind, revision)
    repo_id, at, in_text = wanted.removeprefix(on_hub[0] if on_hub else "").partition("@")
    check_repo_id(repo_id)
    if at:
        check_revision(in_text)
    if revision is not None:
        check_revision(revision)
    if at and revision is not None and in_text != revision:
        raise RefError(
            "two different revisions are asked for",
            found=f"'{in_text}' in '{wanted}', and '{revision}' beside it",
            remedy="keep one of them",
        )
    return RepoRef(kind=kind, repo_id=repo_id, revision=in_text if at else revision)


def check_repo_id(repo_id: str) -> None:
    """Raise RefError unless `repo_id` is 'namespace/name' as the Hub allows it."""
    parts = repo_id.split("/")
    if len(parts) != 2:
        raise RefError("this names no repository", found=repr(repo_id), allowed=_FORMS)
    for part in parts:
        problem = _problem_with(part)
        if problem is not None:
            raise RefError(
                f"a repository cannot be called so: {problem}",
                found=repr(repo_id),
                allowed="letters, digits, '-', '_' and '.' in both parts of org/name",
            )
    if len(repo_id) > _LONGEST_NAME:
        raise RefError(
            "this repository name is too long",
            found=f"{len(repo_id)} characters",
            allowed=f"at most {_LONGEST_NAME}",
        )


def check_revision(revision: str) -> None:
    """Raise RefError unless `revision` could be a branch, a tag, a commit or refs/pr/N."""
    wrong = (
        not revision
        or _BAD_IN_REVISION.search(revision) is not None
        or revision.startswith(("-", "/", "."))
        or revision.endswith(("/", ".", ".lock"))
    )
    if wrong:
        raise RefError(
            "this cannot be a revision",
            found=repr(revision),
            allowed="a branch, a tag, or a commit of 40 hexadecimal digits",
        )


def is_commit(revision: str | None) -> bool:
    """Say whether `revision` is a full commit id, which names one state for ever."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def _is_path(text: str) -> bool:
    return text.startswith((".", "/", "~")) or (text != "" and Path(text).is_dir())


def _folder_ref(text: str, kind: RepoKind, revision: str | None) -> RepoRef:
    folder = user_path(text)
    if not folder.exists():
        raise RefError(
            "no such folder",
            found=text,
            where=f"seen from {Path.cwd()}",
            remedy="for a repository on the Hub write org/name, without a leading '.' or '/'",
        )
    if not folder.is_dir():
        raise RefError("this is a file, not a folder", found=text, allowed=_FORMS)
    if revision is not None:
        raise RefError(
            "a local folder has no revisions",
            found=f"revision '{revision}' for {text}",
            remedy=f"leave the revision out, or write hf-hub:{text} if the Hub is meant",
        )
    return RepoRef(kind=kind, folder=folder)


def _problem_with(part: str) -> str | None:
    """Say in half a sentence why `part` cannot be one side of org/name; None if it can."""
    if not part:
        return "one side of the '/' is empty"
    if not _PART.fullmatch(part):
        return f"'{part}' has a character that is not allowed, or '-' or '.' at an end"
    if "--" in part or ".." in part:
        return f"'{part}' has '--' or '..'"
    if part.endswith(".git"):
        return f"'{part}' ends in '.git'"
    return None
