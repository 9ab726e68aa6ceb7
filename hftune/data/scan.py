"""Look at every image once before training, so that a bad one ends nothing in the middle of it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hftune import files
from hftune.cache_folders import cache_root
from hftune.data.decode import decode
from hftune.data.fingerprints import Fingerprints, fingerprint, join, no_fingerprints
from hftune.data.header import Note, read_header
from hftune.data.part import Part, file_state
from hftune.data.patience import may_pass
from hftune.data.workers import available_cores, produce
from hftune.errors import DataError

logger = logging.getLogger(__name__)

_CHUNK = 32
_MOST_WORKERS = 16
_SHOWN = 5
# Part of a record's name: raised where the same image would give another record.
_VERSION = 1
_TENSORS = tuple(field.name for field in fields(Fingerprints))


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What was seen of the images of a part, by position in it.

    `unreadable` holds the reason, `notes` what is worth a word about images that can be used. Rows
    of `fingerprints` are zero for images that cannot be read. `may_pass` is true where the system
    could not give some of them just now: another look may see more.
    """

    unreadable: Mapping[int, str]
    notes: Mapping[int, tuple[Note, ...]]
    fingerprints: Fingerprints
    may_pass: bool = False


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What was seen of one image."""

    reason: str | None = None
    may_pass: bool = False
    notes: tuple[Note, ...] = ()
    prints: Fingerprints


def scanned(part: Part) -> Scan:
    """Give what was seen of a part's images.

    The answer is kept in the user's cache until a file's name, size or time changes, unless the
    system could not give an image just now. A lock lets one process do the work while the others
    wait for its answer. Raises DiskError where the cache cannot be written.
    """
    record = cache_root() / "scan" / f"{_digest(part)}.safetensors"
    with files.disk_errors(record), files.locked(record.with_suffix(".lock")):
        kept = _read(record, len(part))
        if kept is not None:
            return kept
        found = scan(part, workers=min(_MOST_WORKERS, available_cores()))
        if not found.may_pass:
            files.write_bytes(record, _to_bytes(found))
    return found


def scan(part: Part, *, workers: int) -> Scan:
    """Decode every image of a part and give what was seen of it."""
    start = time.monotonic()
    chunks = [range(first, min(first + _CHUNK, len(part))) for first in range(0, len(part), _CHUNK)]

    def look(positions: range) -> tuple[list[_Seen], Fingerprints]:
        seen = [_look(part, position) for position in positions]
        return seen, join([one.prints for one in seen])

    if len(chunks) > 1:
        logger.info("looking at the %d images of '%s'", len(part), part.name)
    seen: list[_Seen] = []
    prints = [no_fingerprints(0)]
    for of_chunk, prints_of_chunk in produce(look, chunks, workers=workers * (len(chunks) > 1)):
        seen.extend(of_chunk)
        prints.append(prints_of_chunk)
    found = Scan(
        unreadable={n: one.reason for n, one in enumerate(seen) if one.reason is not None},
        notes={n: one.notes for n, one in enumerate(seen) if one.notes},
        fingerprints=join(prints),
        may_pass=any(one.may_pass for one in seen),
    )
    logger.info(
        "'%s': %d images read in %.1f s, %d cannot be read",
        *(part.name, len(part), time.monotonic() - start, len(found.unreadable)),
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


def warn_of_frames(part: Part, found: Scan) -> None:
    """Log a warning about animations, of which training sees one frame."""
    animated = [
        position
        for position, notes in sorted(found.notes.items())
        if any(note.kind == "animated" for note in notes)
    ]
    if animated:
        logger.warning(
            "%d of the %d images of '%s' have several frames, of which the first is used: %s%s",
            *(len(animated), len(part), part.name),
            ", ".join(part.key(position) for position in animated[:_SHOWN]),
            " ..." * (len(animated) > _SHOWN),
        )


def _look(part: Part, position: int) -> _Seen:
    name = f"row {position}"  # the key costs another look at the table, and nobody reads it here
    try:
        stored = part.stored(position)
        notes = read_header(stored, name=name)
        return _Seen(notes=notes, prints=fingerprint(decode(stored, name=name)))
    except DataError as error:
        return _Seen(
            reason=error.found or error.problem,
            may_pass=may_pass(error.__cause__),
            prints=no_fingerprints(1),
        )


def _digest(part: Part) -> str:
    """Identify what was scanned: path, size and time of files; origin and rows of a data set."""
    content: list[object] = [_VERSION, part.origin, part.name, len(part)]
    if part.root is not None:
        paths = [part.path(position) for position in range(len(part))]
        content.extend((path, *file_state(path)) for path in paths if path is not None)
    return files.digest_json(content)


def _to_bytes(found: Scan) -> bytes:
    """Give a record: the fingerprints as tensors, all else as JSON in the header."""
    tensors: dict[str, np.ndarray] = {name: getattr(found.fingerprints, name) for name in _TENSORS}
    notes = {position: [asdict(note) for note in of] for position, of in found.notes.items()}
    metadata = {"unreadable": json.dumps(found.unreadable), "notes": json.dumps(notes)}
    return save(tensors, metadata)


def _read(record: Path, number: int) -> Scan | None:
    """Read a record of `number` images; None where there is none that can be used."""
    if not record.exists():
        return None
    try:
        with safe_open(record, framework="numpy") as opened:
            metadata = opened.metadata()
            prints = Fingerprints(**{name: opened.get_tensor(name) for name in _TENSORS})
    except (SafetensorError, OSError):
        logger.warning("%s is damaged: looking at the images again", record)
        return None
    if len(prints) != number:
        return None
    notes = json.loads(metadata["notes"]).items()
    return Scan(
        unreadable={int(n): reason for n, reason in json.loads(metadata["unreadable"]).items()},
        notes={int(n): tuple(Note(**note) for note in of) for n, of in notes},
        fingerprints=prints,
    )
