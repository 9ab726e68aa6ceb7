"""Folders of what can be made again: whole or absent, shared by runs, bounded, cleaned in peace.

Below the root, `<kind>/<key>/` is one entry. A reader holds its lock, which removal respects.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hftune.files import committed_folder, disk_errors, read_json, user_path, write_json

ABOUT = "about.json"
KINDS = ("images", "features")


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """One whole entry: `used` last at this time, seconds since 1970; `says` what it is."""

    kind: str
    key: str
    folder: Path
    num_bytes: int
    used: float
    says: str


def cache_root() -> Path:
    """Give the folder of hftune's caches: $HFTUNE_CACHE, or ~/.cache/hftune."""
    chosen = os.environ.get("HFTUNE_CACHE")
    return user_path(chosen) if chosen else Path.home() / ".cache" / "hftune"


@contextlib.contextmanager
def made_entry(kind: str, key: str, *, says: str) -> Iterator[Path]:
    """Give a hidden folder to fill, which becomes the entry `key` in one step.

    On an exception nothing is left. `says` tells a reader of the list what it holds.
    """
    with committed_folder(_place(kind, key)) as folder:
        yield folder
        write_json(folder / ABOUT, {"says": says})


@contextlib.contextmanager
def used_entry(kind: str, key: str) -> Iterator[Path | None]:
    """Give the folder of a whole entry, kept from removal for as long as the body runs, or None."""
    place = _place(kind, key)
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context((place / ABOUT).open("rb"))
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        fcntl.flock(stream.fileno(), fcntl.LOCK_SH)
        if not (place / ABOUT).exists():  # removed between the two
            yield None
            return
        with contextlib.suppress(OSError):  # a cache that only others may write
            os.utime(place / ABOUT)
        yield place


def list_entries(kind: str) -> list[CacheEntry]:
    """Give the whole entries of a kind, the one that was used last at the end."""
    entries = []
    for about in cache_root().glob(f"{kind}/*/{ABOUT}"):
        if about.parent.name.startswith("."):
            continue
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            entries.append(_entry(kind, about))
    return sorted(entries, key=lambda entry: entry.used)


def remove_entry(entry: CacheEntry) -> bool:
    """Remove an entry unless somebody uses it; say whether it is gone."""
    try:
        stream = (entry.folder / ABOUT).open("rb")
    except FileNotFoundError:
        return True
    with stream, disk_errors(entry.folder):
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        (entry.folder / ABOUT).unlink(missing_ok=True)  # from here on it is no entry
        shutil.rmtree(entry.folder, ignore_errors=True)
    return True


def is_used(entry: CacheEntry) -> bool:
    """Say whether somebody uses an entry just now."""
    try:
        with (entry.folder / ABOUT).open("rb") as stream:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def make_room(kind: str, *, needed: int, limit: int) -> bool:
    """Remove entries, the longest unused first, until `needed` bytes fit below `limit`.

    Say whether they do. Entries in use stay.
    """
    if needed > limit:
        return False
    entries = list_entries(kind)
    total = sum(entry.num_bytes for entry in entries)
    for entry in entries:
        if total + needed <= limit:
            break
        if remove_entry(entry):
            total -= entry.num_bytes
    return total + needed <= limit


def remove_remains(kind: str, *, older: float = 86_400.0) -> None:
    """Remove what killed writers left, once it was not touched for `older` seconds."""
    place = cache_root() / kind
    limit = time.time() - older
    with contextlib.suppress(OSError):
        for path in place.glob(".*.part"):
            if path.stat().st_mtime < limit:
                shutil.rmtree(path, ignore_errors=True)


def _place(kind: str, key: str) -> Path:
    if kind not in KINDS:
        raise ValueError(f"no such kind of cache: {kind}")
    return cache_root() / kind / key


def _entry(kind: str, about: Path) -> CacheEntry:
    folder = about.parent
    try:
        says = str(read_json(about)["says"])
    except (ValueError, LookupError, TypeError):
        says = "damaged"
    return CacheEntry(
        kind=kind,
        key=folder.name,
        folder=folder,
        num_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        used=about.stat().st_mtime,
        says=says,
    )
