"""What a repository holds at one commit, and where its files lie in the client library's cache."""

import hashlib
import json
import logging
import re
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub.hf_api import RepoFile

from hftune import files
from hftune.core import RepoRef
from hftune.errors import HubError
from hftune.hub.client import HubSettings, ask, open_api
from hftune.hub.failure import errand_for
from hftune.hub.ref import DEFAULT_REVISION, is_commit

logger = logging.getLogger(__name__)

_UNFIT = re.compile("[\x00-\x1f\x7f\\\\\ud800-\udfff]")
_LONGEST_NAME = 255
_LONGEST_PATH = 2_000


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file in a repository. `blob_id` is git's sha1; a large file also has its content's sha256.

    `blob_id` of a large file names its pointer, so it says nothing about the content.
    """

    path: str
    size: int
    blob_id: str
    sha256: str | None = None


def read_listing(ref: RepoRef, settings: HubSettings) -> tuple[RemoteFile, ...]:
    """List the files of `ref` at its commit, from the cache where it was listed before.

    A commit never changes, so its listing is kept beside the cached files; that is how a machine
    without a network knows whether its copy is whole. Raises HubError and its kin.
    """
    kept = _kept_file(ref, settings.cache)
    known = _read_kept(kept)
    if known is not None:
        return known
    listing = ask_listing(ref, settings)
    with files.disk_errors(kept):
        files.write_json(kept, [asdict(file) for file in listing])
    return listing


def is_listed(ref: RepoRef, cache: Path) -> bool:
    """Say whether the cache knows what the repository holds at the commit of `ref`."""
    return _kept_file(ref, cache).is_file()


def ask_listing(ref: RepoRef, settings: HubSettings) -> tuple[RemoteFile, ...]:
    """List the files of `ref` at its commit as the Hub tells them now."""
    assert ref.repo_id is not None
    repo_id, api = ref.repo_id, open_api(settings)
    entries = ask(
        settings,
        errand_for(ref, "list its files", settings.endpoint),
        lambda: list(
            api.list_repo_tree(repo_id, recursive=True, revision=ref.commit, repo_type=ref.kind)
        ),
    )
    return tuple(
        RemoteFile(
            path=_inside(entry.path, ref),
            size=entry.size,
            blob_id=entry.blob_id,
            sha256=entry.lfs.sha256 if entry.lfs is not None else None,
        )
        for entry in entries
        if isinstance(entry, RepoFile)
    )


def matches(path: Path, file: RemoteFile) -> bool:
    """Say whether the content of `path` is that of `file`, by its digest."""
    if path.stat().st_size != file.size:
        return False
    if file.sha256 is not None:
        return files.digest_file(path) == file.sha256
    return git_digest(path) == file.blob_id


def git_digest(path: Path) -> str:
    """Give the sha1 that git has for a file of this content."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def repo_cache(ref: RepoRef, cache: Path) -> Path:
    """Give the folder of a repository in the cache: refs, blobs, snapshots."""
    assert ref.repo_id is not None
    return cache / f"{ref.kind}s--{ref.repo_id.replace('/', '--')}"


def snapshot_folder(ref: RepoRef, cache: Path) -> Path:
    """Give where the cache shows the files of a commit under their names."""
    assert ref.commit is not None
    return repo_cache(ref, cache) / "snapshots" / ref.commit


def cached_commit(ref: RepoRef, cache: Path) -> str | None:
    """Give the commit that the cache last saw for the revision of `ref`, None if it never did."""
    path = _ref_file(ref, cache)
    commit = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    return commit if is_commit(commit) else None


def remember_commit(ref: RepoRef, cache: Path) -> None:
    """Note in the cache, as the client library does, which commit the revision stands for."""
    assert ref.commit is not None
    path = _ref_file(ref, cache)
    if cached_commit(ref, cache) != ref.commit:
        with files.disk_errors(path):
            files.write_text(path, ref.commit)


def _ref_file(ref: RepoRef, cache: Path) -> Path:
    return repo_cache(ref, cache) / "refs" / (ref.revision or DEFAULT_REVISION)


def _kept_file(ref: RepoRef, cache: Path) -> Path:
    assert ref.commit is not None
    return repo_cache(ref, cache) / "hftune" / f"{ref.commit}.json"


def _read_kept(path: Path) -> tuple[RemoteFile, ...] | None:
    if not path.is_file():
        return None
    try:
        return tuple(RemoteFile(**entry) for entry in json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        logger.warning("the kept listing %s is damaged and will be asked for again", path)
        return None


def _inside(path: str, ref: RepoRef) -> str:
    """Give `path` back. Raises HubError when it would lead out of the repository's folder.

    Or when it is none: characters that steer terminals, names longer than any disk takes.
    """
    parts = PurePosixPath(path).parts
    is_long = len(path) > _LONGEST_PATH or any(len(part) > _LONGEST_NAME for part in parts)
    if path.startswith("/") or not parts or ".." in parts or is_long or _UNFIT.search(path):
        raise HubError(
            "this repository holds a file whose path leads out of it, or cannot be one",
            found=repr(path[:_LONGEST_NAME]),
            where=f"{ref.kind} {ref.repo_id}",
        )
    return path
