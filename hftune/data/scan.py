"""Decode every image once before training, so that a bad one ends nothing in the middle of it."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from hftune import files
from hftune.data.part import Part, file_state
from hftune.data.workers import available_cores, produce
from hftune.errors import DataError

logger = logging.getLogger(__name__)

_CHUNK = 32
_MOST_WORKERS = 16
_SHOWN = 5


def unreadable(part: Part) -> Mapping[int, str]:
    """Give the positions of images that cannot be read, each with the reason.

    The answer is kept in the user's cache until a file's name, size or time changes. A lock lets
    one process do the work while the others wait for its answer. Raises DiskError where the cache
    cannot be written.
    """
    record = cache_folder() / "scan" / f"{_digest(part)}.json"
    with files.disk_errors(record), files.locked(record.with_suffix(".lock")):
        if record.exists():
            kept = json.loads(record.read_text(encoding="utf-8"))
            return {int(position): reason for position, reason in kept["unreadable"].items()}
        found = scan(part, workers=min(_MOST_WORKERS, available_cores()))
        files.write_json(record, {"images": len(part), "unreadable": found})
    return found


def scan(part: Part, *, workers: int) -> dict[int, str]:
    """Decode every image of a part and give those that cannot be read, with the reason."""
    start = time.monotonic()
    chunks = [range(first, min(first + _CHUNK, len(part))) for first in range(0, len(part), _CHUNK)]

    def check(positions: range) -> dict[int, str]:
        return {
            position: reason
            for position in positions
            if (reason := _reason(part, position)) is not None
        }

    if len(chunks) > 1:
        logger.info("checking that the %d images of '%s' can be read", len(part), part.name)
    found: dict[int, str] = {}
    for of_chunk in produce(check, chunks, workers=0 if len(chunks) == 1 else workers):
        found.update(of_chunk)
    logger.info(
        "'%s': %d images read in %.1f s, %d cannot be read",
        *(part.name, len(part), time.monotonic() - start, len(found)),
    )
    return found


def bad_images_error(part: Part, found: Mapping[int, str]) -> DataError:
    """Give the error about images that cannot be read."""
    return DataError(
        f"{len(found)} of the {len(part)} images of '{part.name}' cannot be read",
        found=describe(part, found),
        remedy="replace or remove them, or train without them: data.on_bad_image=skip",
    )


def describe(part: Part, found: Mapping[int, str]) -> str:
    """Name the first bad images with their reasons, a line each, and count the rest."""
    shown = sorted(found)[:_SHOWN]
    lines = [f"{part.key(position)}: {found[position]}" for position in shown]
    if len(found) > len(shown):
        lines.append(f"and {len(found) - len(shown)} more")
    return "\n".join(lines)


def cache_folder() -> Path:
    """Give the folder of hftune's caches: $HFTUNE_CACHE, or ~/.cache/hftune."""
    chosen = os.environ.get("HFTUNE_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "hftune"


def _reason(part: Part, position: int) -> str | None:
    try:
        part.picture(position)
    except DataError as error:
        return error.found or error.problem
    return None


def _digest(part: Part) -> str:
    """Identify what was scanned: path, size and time of files; origin and rows of a data set."""
    content: list[object] = [part.origin, part.name, len(part)]
    if part.root is not None:
        paths = [part.path(position) for position in range(len(part))]
        content.extend((path, *file_state(path)) for path in paths if path is not None)
    return files.digest_json(content)
