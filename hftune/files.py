"""Files and folders that are whole or absent: atomic writes, folder commits, digests, locks."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hftune.errors import DiskError
from hftune.units import format_size

_BLOCK = 2**20
_PART = 2**26
_MOST_READERS = 8
_NOT_WRITABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,  # a file stands where a folder is needed
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step; a reader sees the old or the new file, never less.

    Writes beside the target, flushes file and folder, renames. Raises DiskError.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        flush_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by UTF-8 `text` in one step."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Give the value in a JSON file. Raises FileNotFoundError, and ValueError for anything else.

    Numbers are finite and texts are Unicode, so that whatever was read can be written and shown.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


@contextlib.contextmanager
def committed_folder(final: Path) -> Iterator[Path]:
    """Give a hidden folder to fill; on a clean exit flush it and rename it to `final`.

    On an exception the hidden folder is removed and `final` is as it was. An existing `final` is
    replaced, by two renames; `remove_leftovers` heals a kill between them. Raises DiskError.
    """
    aside = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.part")
    with disk_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        aside.mkdir()
        try:
            yield aside
            flush_tree(aside)
            _swap(aside, final)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        flush_folder(final.parent)


def flush_tree(folder: Path) -> None:
    """Flush every file and folder below `folder` to the disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            with (Path(root) / name).open("rb") as stream:
                os.fsync(stream.fileno())
        flush_folder(Path(root))


def remove_leftovers(folder: Path) -> None:
    """Remove what an interrupted write left in `folder`; call only while nobody else writes.

    A folder that was moved away, and whose successor never arrived, is put back.
    """
    for old in folder.glob(".*.old"):
        final = old.with_name(old.name[1 : -len(".old")])
        if final.exists():
            shutil.rmtree(old)
        else:
            old.rename(final)
    for path in folder.glob(".*.part"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def user_path(text: str | Path) -> Path:
    """Give a path as a user names it, '~' being the home folder; '~nobody' stays as it is."""
    return Path(os.path.expanduser(text))  # noqa: PTH111  # Path.expanduser raises at '~nobody'


def real_path(path: Path) -> Path:
    """Give the file that `path` leads to; one in a loop of links leads to itself."""
    return Path(os.path.realpath(path))  # Path.resolve raises at a loop


def is_file(path: Path) -> bool:
    """Say whether there is such a file; a name that no file can have is none."""
    return os.path.isfile(path)  # noqa: PTH113  # Path.is_file raises at a name that is too long


def digest_file(path: Path) -> str:
    """Give the sha256 of a file as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_parts(path: Path) -> str:
    """Give 64 hex digits that change with any bit of a file, quickly for large ones.

    It is the blake2b of the blake2b of each part of 64 MiB; parts are read side by side.
    """
    size = path.stat().st_size
    starts = range(0, max(size, 1), _PART)
    with path.open("rb") as stream, ThreadPoolExecutor(min(len(starts), _MOST_READERS)) as pool:
        parts = pool.map(lambda start: _digest_part(stream.fileno(), start), starts)
        return hashlib.blake2b(b"".join(parts), digest_size=32).hexdigest()


def _digest_part(descriptor: int, start: int) -> bytes:
    total = hashlib.blake2b(digest_size=32)
    for offset in range(start, start + _PART, _BLOCK):
        total.update(os.pread(descriptor, _BLOCK, offset))
    return total.digest()


def digest_json(value: Any) -> str:
    """Give the sha256 of a JSON value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` (made if absent) against other processes and threads."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a")
    with stream:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(stream.fileno(), fcntl.LOCK_UN)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a place that cannot be written into one DiskError that names `path`."""
    try:
        yield
    except OSError as error:
        ours = as_disk_error(error, path)
        if ours is None:
            raise
        raise ours from error


def as_disk_error(error: OSError, path: Path) -> DiskError | None:
    """Give the DiskError for a full disk or a place that cannot be written; None for the rest."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskError(
            "no space left on the disk",
            where=str(path),
            remedy="free some space and run the same command again; what was complete is kept",
        )
    if error.errno == errno.EFBIG:
        return DiskError(
            "a file grew past the largest size that is allowed here",
            where=str(path),
            remedy="raise the limit (ulimit -f), or write to another disk",
        )
    if error.errno in _NOT_WRITABLE:
        return DiskError(
            "this place cannot be written",
            found=os.strerror(error.errno),
            where=str(path),
            remedy="choose another folder, or change its permissions",
        )
    return None


def check_room(place: Path, *, needed: int, purpose: str) -> None:
    """Raise DiskError unless `place` can be written and its disk has `needed` bytes free.

    `place` need not exist: what will hold it is looked at. `purpose` completes 'no room for'.
    """
    with disk_errors(place):
        there = place
        while not there.exists():
            there = there.parent
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    if free < needed:
        raise DiskError(
            f"there is no room for {purpose}",
            found=f"{format_size(free)} free",
            allowed=f"{format_size(needed)} or more",
            where=str(place),
            remedy="free some space on this disk, or choose a folder on another one",
        )


def _swap(aside: Path, final: Path) -> None:
    """Rename `aside` to `final`; a folder that stood there is moved away first, then removed."""
    old = final.with_name(f".{final.name}.old")
    if not final.exists():
        aside.rename(final)
        return
    if old.exists():  # a kill came after the second rename below; `final` is the newer one
        shutil.rmtree(old)
    final.rename(old)
    try:
        aside.rename(final)
    except BaseException:
        old.rename(final)
        raise
    shutil.rmtree(old)


def flush_folder(folder: Path) -> None:
    """Flush a folder's list of names, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
