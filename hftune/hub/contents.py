"""What a folder would send to the Hub, and what in it must not leave this machine."""

import hashlib
import mmap
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from hftune import files
from hftune.errors import PublishError
from hftune.hub.listing import git_digest
from hftune.hub.pull import PICKLES

CARD = "README.md"

_CHECKPOINTS = frozenset({"checkpoints", "checkpoint"})
_FORBIDDEN = {
    "preprocessor_config.json": "transformers would read it in place of config.json",
    "optimizer.safetensors": "optimizer state",
    "scheduler.json": "training state",
    "state.json": "training state",
    "trainer_state.json": "training state",
}
_STATE = frozenset({".safetensors", ".json", ".jsonl", ".yaml"})
_HIDDEN_ALLOWED = frozenset({".eval_results", ".gitattributes"})
_STEP = re.compile(r"(?:step|checkpoint|epoch)-\d+")
_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{20,}")
# An absolute path of two or more parts, not the end of an address or of a relative path.
_PATH = re.compile(rb"(?<![\w.:/<~-])(?:/[\w.@+-]+){2,}")
_SYSTEM = frozenset({"bin", "dev", "etc", "lib", "lib64", "proc", "sbin", "sys", "usr"})
_HEADER_SIZE = 8


@dataclass(frozen=True, kw_only=True)
class PushFile:
    """A file as it will lie in the repository. `content` is sent in place of the file if given."""

    path: str
    size: int
    sha256: str
    blob_id: str
    unchanged: bool = False
    content: bytes | None = field(default=None, repr=False)


def read_contents(folder: Path, *, token: str | None = None) -> tuple[PushFile, ...]:
    """List what a push of `folder` would send, sorted by path.

    Raises PublishError with every file that must not be published: pickles, training state,
    hidden files, links out of the folder, tokens (`token` in any shape), paths of this machine.
    """
    if not folder.is_dir():
        raise PublishError("no such folder to publish", where=str(folder))
    paths = _paths_in(folder)
    if not paths:
        raise PublishError("there is nothing to publish in this folder", where=str(folder))
    findings = [finding for path in paths for finding in _findings(path, folder, token, _forbidden)]
    if findings:
        raise PublishError(
            "this folder holds what must not be published; nothing was sent",
            found="\n".join(findings),
            where=str(folder),
            remedy="remove it, or build the folder again from the run: hftune export RUN",
        )
    return tuple(_push_file(path, folder) for path in paths)


def read_state(folder: Path, *, token: str | None = None) -> tuple[PushFile, ...]:
    """List what sending the state of a run would send, sorted by path.

    Training state is what it is for; otherwise only safetensors and texts may go. Raises
    PublishError with every other file, links out of the folder, tokens, paths of this machine.
    """
    paths = _paths_in(folder)
    findings = [finding for path in paths for finding in _findings(path, folder, token, _no_state)]
    if findings:
        raise PublishError(
            "the state of this run holds what must not leave this machine; nothing was sent",
            found="\n".join(findings),
        )
    return tuple(_push_file(path, folder) for path in paths)


def of_content(path: str, content: bytes) -> PushFile:
    """Give the file that has `content` in place of what lies in the folder."""
    git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return PushFile(
        path=path,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        blob_id=git.hexdigest(),
        content=content,
    )


def _paths_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _push_file(path: Path, folder: Path) -> PushFile:
    return PushFile(
        path=path.relative_to(folder).as_posix(),
        size=path.stat().st_size,
        sha256=files.digest_file(path),
        blob_id=git_digest(path),
    )


def _findings(
    path: Path, folder: Path, token: str | None, rule: Callable[[PurePosixPath], str | None]
) -> Iterator[str]:
    """Say what forbids sending one file, its name by `rule`; nothing if nothing does."""
    name = path.relative_to(folder)
    reason = rule(PurePosixPath(name))
    if reason is not None:
        yield f"{name}: {reason}"
    elif not files.real_path(path).is_relative_to(folder.resolve()):
        yield f"{name}: a link to something outside this folder"
    elif not path.is_file():
        yield f"{name}: not a file"
    elif path.stat().st_size > 0:
        yield from _secrets_in(path, folder, token)


def _secrets_in(path: Path, folder: Path, token: str | None) -> Iterator[str]:
    """Name what a file tells about its author: a token, in any form or the one in use; paths."""
    name = path.relative_to(folder)
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        if _TOKEN.search(view) or (token and view.find(token.encode()) >= 0):
            yield f"{name}: holds an access token"
        text = _text_of(view, path)
    found = sorted({match[0].decode() for match in _PATH.finditer(text)})
    roots = _private_roots(folder)
    private = [place for place in found if _is_private(PurePosixPath(place), roots)]
    if private:
        yield f"{name}: holds a path of this machine, {private[0]}"


def _forbidden(path: PurePosixPath) -> str | None:
    if path.suffix.lower() in PICKLES:
        return "a pickle; weights are published as safetensors"
    if path.name in _FORBIDDEN:
        return _FORBIDDEN[path.name]
    if any(part in _CHECKPOINTS or _STEP.fullmatch(part) for part in path.parts):
        return "part of a training checkpoint"
    if any(part.startswith(".") and part not in _HIDDEN_ALLOWED for part in path.parts):
        return "hidden"
    return None


def _no_state(path: PurePosixPath) -> str | None:
    if any(part.startswith(".") for part in path.parts):
        return "hidden"
    return None if path.suffix in _STATE else "neither safetensors, JSON nor YAML"


def _text_of(view: mmap.mmap, path: Path) -> bytes:
    """Give a file's text: all of it, the header of a safetensors file, nothing of a picture."""
    if path.suffix == ".safetensors":
        length = int.from_bytes(view[:_HEADER_SIZE], "little")
        return view[_HEADER_SIZE : _HEADER_SIZE + min(length, len(view))]
    return b"" if view.find(b"\0") >= 0 else view[:]


def _is_private(place: PurePosixPath, roots: Sequence[Path]) -> bool:
    """Say whether a path belongs to this machine: below one of `roots`, or there on its disk."""
    if any(place.is_relative_to(root) and place != PurePosixPath(root) for root in roots):
        return True
    return place.parts[1] not in _SYSTEM and Path(place).exists()


def _private_roots(folder: Path) -> list[Path]:
    """Give folders that mean nothing elsewhere: home, where we are, the run, temporary files."""
    places = {
        Path.home(),
        Path.cwd(),
        folder.absolute().parent,
        folder.resolve().parent,
        Path(tempfile.gettempdir()),
    }
    return [place for place in places if place != place.parent]
