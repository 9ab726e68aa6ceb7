"""The files that one configuration of a data set repository needs: whole, verified, at a commit.

`datasets` is given a local folder and asks the Hub for nothing itself. So all that `pull` promises
holds for data as well: bounded retry, every file compared with its digest, no other commit than
the wanted one, and a cache that serves without a network.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from hftune import files
from hftune.core import RepoRef
from hftune.data.builder import data_files, open_builder
from hftune.hub.client import HubSettings, settings_from_environment
from hftune.hub.listing import read_listing, repo_cache, snapshot_folder
from hftune.hub.pull import pull
from hftune.hub.resolve import naming_the_pull, resolve_commit

# What tells `datasets` how the rest is to be read; into archives it looks for that as well.
_TELLING_NAMES = frozenset({"README.md", ".huggingface.yaml", "dataset_infos.json"})
_TELLING_SUFFIXES = frozenset({".zip"})


@dataclass(frozen=True, kw_only=True)
class DataFiles:
    """The files of a configuration: `ref` with commit and folder, and each path's size in bytes."""

    ref: RepoRef
    sizes: Mapping[str, int]


def fetch_files(
    ref: RepoRef, config: str | None, *, settings: HubSettings | None = None
) -> DataFiles:
    """Bring the files of one configuration here.

    Every file is compared with its digest once; later its size and time tell that it is the same.
    Raises HubError and its kin, DataError for a configuration that is not there, DiskError.
    """
    settings = settings or settings_from_environment()
    with naming_the_pull(ref, settings):
        pinned = resolve_commit(ref, settings=settings)
        folder = snapshot_folder(pinned, settings.cache)
        record = _record(pinned, config, settings)
        states = _read_states(folder, record)
        if states is None:
            needed = _choose(pinned, config, settings)
            pull(pinned, files=needed, settings=settings)
            states = {path: _state(folder / path) for path in needed}
            with files.disk_errors(record):
                files.write_json(record, states)
    sizes = {path: size for path, (size, _) in states.items()}
    return DataFiles(ref=replace(pinned, folder=folder), sizes=sizes)


def _choose(ref: RepoRef, config: str | None, settings: HubSettings) -> list[str]:
    """Give the paths that a configuration is read from, and those that say how.

    `datasets` decides by names, so it is shown a folder in which nothing but those texts has
    content. What only looks like a needed file, such as a picture in a card, is not downloaded.
    """
    listing = read_listing(ref, settings)
    telling = [file.path for file in listing if _is_telling(PurePosixPath(file.path))]
    here = snapshot_folder(ref, settings.cache)
    if telling:
        pull(ref, files=telling, settings=settings)
    with tempfile.TemporaryDirectory(prefix="hftune-") as place:
        outline = Path(place).resolve()
        for file in listing:
            path = outline / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if file.path in telling:
                path.symlink_to(here / file.path)
            else:
                path.touch()
        builder = open_builder(outline, config, where=str(ref.repo_id))
        read = {Path(path.rpartition("::")[2]) for path in data_files(builder)}
        inside = [path.relative_to(outline) for path in read if path.is_relative_to(outline)]
    return sorted({*telling, *(path.as_posix() for path in inside)})


def _is_telling(path: PurePosixPath) -> bool:
    return path.name in _TELLING_NAMES or path.suffix.lower() in _TELLING_SUFFIXES


def _record(ref: RepoRef, config: str | None, settings: HubSettings) -> Path:
    """Give where the state of a configuration's verified files is kept, beside the listing."""
    name = f"{ref.commit}-{files.digest_json(config)[:16]}.json"
    return repo_cache(ref, settings.cache) / "hftune" / name


def _read_states(folder: Path, record: Path) -> dict[str, tuple[int, int]] | None:
    """Give the state of each verified file; None unless all are there as they were then."""
    try:
        kept = json.loads(record.read_text(encoding="utf-8"))
        states = {path: _state(folder / path) for path in kept}
        return states if {path: list(state) for path, state in states.items()} == kept else None
    except (OSError, ValueError, TypeError):
        return None  # never recorded, a file is gone, or the record is damaged


def _state(path: Path) -> tuple[int, int]:
    """Give what changes when a file's content does: its size in bytes and time in nanoseconds."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
