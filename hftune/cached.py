"""All that is kept to be faster: listed, chosen by kind, name and age, removed unless in use."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from hftune.cache_folders import (
    KINDS,
    cache_root,
    is_used,
    list_entries,
    remove_entry,
    remove_remains,
)
from hftune.errors import RequestError
from hftune.files import disk_errors
from hftune.hub.cached import cached_repos, remove_repo

RECORDS = "records"
REPOS = "repos"
OWN = (*KINDS, RECORDS)

# What the records of each folder below the root say.
_RECORDS = {"scan": "what the images of a split are like", "audit": "which images look alike"}
_LEAST_OF_A_KEY = 6
_REMAINS_AFTER = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Cached:
    """One thing that can be made, or pulled, again; `used` last at this time, since 1970."""

    kind: str
    key: str
    num_bytes: int
    used: float
    in_use: bool
    says: str
    remove: Callable[[], bool] = field(repr=False, compare=False)

    def to_json(self) -> dict[str, str | int | bool]:
        """Give the facts as JSON values, the time in UTC."""
        return {
            "kind": self.kind,
            "key": self.key,
            "bytes": self.num_bytes,
            "used": datetime.fromtimestamp(self.used, UTC).isoformat(timespec="seconds"),
            "in_use": self.in_use,
            "says": self.says,
        }


@dataclass(frozen=True, kw_only=True)
class Cleared:
    """What was removed, and what stays because somebody uses it."""

    removed: tuple[Cached, ...]
    kept: tuple[Cached, ...]


def list_cached(hub_cache: Path) -> list[Cached]:
    """Give all that lies in hftune's caches and in the Hub client's, by kind."""
    entries = [entry for kind in KINDS for entry in list_entries(kind)]
    own = [
        Cached(
            kind=entry.kind,
            key=entry.key,
            num_bytes=entry.num_bytes,
            used=entry.used,
            in_use=is_used(entry),
            says=entry.says,
            remove=partial(remove_entry, entry),
        )
        for entry in entries
    ]
    repos = [
        Cached(
            kind=REPOS,
            key=repo.name,
            num_bytes=repo.num_bytes,
            used=repo.used,
            in_use=False,
            says=f"pulled from the Hub, revisions: {len(repo.revisions)}",
            remove=partial(remove_repo, hub_cache, repo),
        )
        for repo in cached_repos(hub_cache)
    ]
    return [*own, *_records(), *repos]


def choose(
    cached: Sequence[Cached], *, kind: str, keys: Sequence[str], older: float
) -> list[Cached]:
    """Give what is of `kind` ("all" for any), named by `keys`, unused for `older` seconds.

    Without keys it is all of hftune's own; repositories are meant by their names only. Raises
    RequestError for another kind, and for a key that names nothing or several things.
    """
    if kind not in ("all", *OWN, REPOS):
        raise RequestError(
            "there is no such kind of cache",
            found=kind,
            allowed=", ".join(("all", *OWN, REPOS)),
            where="--kind",
        )
    if kind == REPOS and not keys:
        raise RequestError(
            "pulled repositories are removed by name: others may need them too",
            remedy="name them: hftune cache clear org/name datasets/org/name",
        )
    of_kind = [one for one in cached if kind in ("all", one.kind)]
    named = [_named(key, of_kind) for key in keys]
    chosen = named if keys else [one for one in of_kind if one.kind in OWN]
    limit = time.time() - older
    return [one for one in dict.fromkeys(chosen) if one.used <= limit]


def clear(chosen: Sequence[Cached]) -> Cleared:
    """Remove what was chosen unless it is in use, and what writers left that were killed.

    Raises DiskError for what cannot be removed from this place.
    """
    removed: list[Cached] = []
    kept: list[Cached] = []
    for one in chosen:
        (removed if one.remove() else kept).append(one)
    for kind in KINDS:
        remove_remains(kind)
    _remove_records_remains()
    return Cleared(removed=tuple(removed), kept=tuple(kept))


def _named(key: str, among: Sequence[Cached]) -> Cached:
    """Give the one thing that `key` names, by all of its name or a beginning that is long enough.

    Raises RequestError.
    """
    exact = [one for one in among if one.key == key]
    long_enough = len(key) >= _LEAST_OF_A_KEY
    found = exact or [one for one in among if long_enough and one.key.startswith(key)]
    if len(found) == 1:
        return found[0]
    if found:
        raise RequestError(
            "this names several things",
            found=f"{key}: {', '.join(f'{one.kind} {one.key}' for one in found[:5])}",
            remedy="give more of the name, or --kind",
        )
    raise RequestError(
        "nothing in the cache is called so",
        found=key,
        allowed=f"a name, or the first {_LEAST_OF_A_KEY} letters of it or more",
        remedy="see what there is: hftune cache ls",
    )


def _records() -> Iterator[Cached]:
    for folder, says in _RECORDS.items():
        for path in sorted((cache_root() / folder).glob("[!.]*.*")):
            if path.suffix == ".lock":
                continue
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                state = path.stat()
                yield Cached(
                    kind=RECORDS,
                    key=path.stem,
                    num_bytes=state.st_size,
                    used=state.st_mtime,
                    in_use=False,
                    says=says,
                    remove=partial(_remove_record, path),
                )


def _remove_record(path: Path) -> bool:
    """Remove a record and its lock; who waits for the lock makes the record once more."""
    with disk_errors(path):
        path.unlink(missing_ok=True)
        path.with_suffix(".lock").unlink(missing_ok=True)
    return True


def _remove_records_remains() -> None:
    limit = time.time() - _REMAINS_AFTER
    for folder in _RECORDS:
        for path in (cache_root() / folder).glob(".*.part"):
            with contextlib.suppress(FileNotFoundError), disk_errors(path):
                if path.stat().st_mtime < limit:
                    path.unlink()
