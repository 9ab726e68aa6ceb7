"""A folder of images: classes and splits, broken files, oddities, duplicates and leaks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hftune.data.duplicates import earlier_exact_twins, earlier_near_twins
from hftune.data.fingerprints import join
from hftune.data.folder_source import image_folder
from hftune.data.header import NoteKind
from hftune.data.labels import read_labels
from hftune.data.part import Part
from hftune.data.scan import Scan, scanned
from hftune.describe.description import Cell, Description, Table

_SHOWN = 20
_KINDS: Mapping[NoteKind, str] = {
    "animated": "with several frames",
    "mode": "of unusual mode",
    "turned": "turned by EXIF",
    "tiny": "tiny",
    "extension": "with a wrong extension",
}


@dataclass(frozen=True, kw_only=True)
class _Image:
    """One readable image: the name of its split, its path and its class."""

    split: str
    key: str
    label: str


@dataclass(frozen=True, kw_only=True)
class _Duplicate:
    """An image and the first one before it that has the same pixels, or looks like it."""

    image: _Image
    of: _Image
    is_exact: bool

    @property
    def is_conflict(self) -> bool:
        return self.image.label != self.of.label

    @property
    def is_leak(self) -> bool:
        return self.image.split != self.of.split


def describe_data(folder: Path) -> Description:
    """Describe a folder of class folders, with or without splits; every image is decoded once.

    All images are compared with all others, so that a duplicate is found wherever it lies. Raises
    DataError when there are no images.
    """
    parts = image_folder(path=str(folder)).parts
    labels = {
        name: [row[0] for row in read_labels(part, "single_label").names]
        for name, part in parts.items()
    }
    scans = {name: scanned(part) for name, part in parts.items()}
    duplicates = _duplicates(parts, labels, scans)
    tables = (_classes(labels), _unreadable(parts, scans), _notes(parts, scans), _table(duplicates))
    return Description(
        kind="data",
        name=str(folder),
        facts=_facts(labels) | _findings(scans) | _duplicate_facts(duplicates),
        tables=tuple(table for table in tables if table.rows),
    )


def _duplicates(
    parts: Mapping[str, Part], labels: Mapping[str, Sequence[str]], scans: Mapping[str, Scan]
) -> list[_Duplicate]:
    """Find for every image the first one before it that is the same; train comes first."""
    images, prints = [], []
    for name, part in parts.items():
        bad = scans[name].unreadable
        readable = [row for row in range(len(part)) if row not in bad]
        images += [
            _Image(split=name, key=part.key(row), label=labels[name][row]) for row in readable
        ]
        prints.append(scans[name].fingerprints.at(np.array(readable, dtype=np.int64)))
    together = join(prints)
    exact = earlier_exact_twins(together)
    near = earlier_near_twins(together, exact)
    return [
        _Duplicate(image=images[row], of=images[max(same, like)], is_exact=same >= 0)
        for row, (same, like) in enumerate(zip(exact.tolist(), near.tolist(), strict=True))
        if max(same, like) >= 0
    ]


def _facts(labels: Mapping[str, Sequence[str]]) -> dict[str, Cell]:
    counts = {name: Counter(of_split) for name, of_split in labels.items()}
    total = sum(counts.values(), start=Counter[str]())
    facts: dict[str, Cell] = {
        "images": total.total(),
        "splits": ", ".join(f"{name} {found.total()}" for name, found in counts.items()),
        "classes": len(total),
        "most frequent": "{} ({})".format(*total.most_common()[0]),
        "least frequent": "{} ({})".format(*total.most_common()[-1]),
    }
    missing = [
        f"{label} in {name}"
        for name, found in counts.items()
        for label in sorted(total.keys() - found.keys())
    ]
    if missing:
        facts["missing classes"] = ", ".join(missing[:8])
    return facts


def _findings(scans: Mapping[str, Scan]) -> dict[str, Cell]:
    """Count what was found in single images; what is nowhere is left out."""
    facts: dict[str, Cell] = {
        "cannot be read": sum(len(scan.unreadable) for scan in scans.values())
    }
    kinds = Counter(
        note.kind for scan in scans.values() for notes in scan.notes.values() for note in notes
    )
    return facts | {words: kinds[kind] for kind, words in _KINDS.items() if kinds[kind]}


def _duplicate_facts(duplicates: Sequence[_Duplicate]) -> dict[str, Cell]:
    exact = sum(one.is_exact for one in duplicates)
    leaks = Counter(f"{one.image.split} in {one.of.split}" for one in duplicates if one.is_leak)
    return {
        "duplicates": f"{exact} with the same pixels, {len(duplicates) - exact} nearly the same",
        "conflicting labels": sum(one.is_conflict for one in duplicates),
        "in several splits": ", ".join(f"{n} {name}" for name, n in leaks.items()) or 0,
    }


def _classes(labels: Mapping[str, Sequence[str]]) -> Table:
    counts = {name: Counter(of_split) for name, of_split in labels.items()}
    names = sorted({label for found in counts.values() for label in found})
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (label, *(found[label] for found in counts.values())) for label in names
    )
    return Table(title="images per class", columns=("class", *counts), rows=rows)


def _unreadable(parts: Mapping[str, Part], scans: Mapping[str, Scan]) -> Table:
    return Table(
        title="images that cannot be read",
        columns=("image", "reason"),
        rows=tuple(
            (parts[name].key(row), reason)
            for name, scan in scans.items()
            for row, reason in sorted(scan.unreadable.items())
        ),
        shown=_SHOWN,
    )


def _notes(parts: Mapping[str, Part], scans: Mapping[str, Scan]) -> Table:
    return Table(
        title="images worth a look",
        columns=("image", "finding", "detail"),
        rows=tuple(
            (parts[name].key(row), note.kind, note.text)
            for name, scan in scans.items()
            for row, notes in sorted(scan.notes.items())
            for note in notes
        ),
        shown=_SHOWN,
    )


def _table(duplicates: Sequence[_Duplicate]) -> Table:
    """List conflicting labels first, then what is in several splits, then the others."""
    ordered = sorted(duplicates, key=lambda one: (not one.is_conflict, not one.is_leak))
    return Table(
        title="duplicates",
        columns=("image", "of", "how", "splits", "labels"),
        rows=tuple(
            (
                one.image.key,
                one.of.key,
                "same pixels" if one.is_exact else "nearly the same",
                f"{one.image.split} in {one.of.split}" if one.is_leak else one.image.split,
                f"{one.image.label}, not {one.of.label}" if one.is_conflict else one.image.label,
            )
            for one in ordered
        ),
        shown=_SHOWN,
    )
