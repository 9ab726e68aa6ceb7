"""A folder of images: its classes, how many images each split has of them, and broken ones."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from hftune.data.folder_source import image_folder
from hftune.data.labels import read_labels
from hftune.data.scan import scanned
from hftune.describe.description import Cell, Description, Table

_MOST_BROKEN = 20


def describe_data(folder: Path) -> Description:
    """Describe a folder of class folders, with or without splits; every image is decoded once.

    Raises DataError when there are no images.
    """
    parts = image_folder(path=str(folder)).parts
    counts = {
        name: Counter(label for row in read_labels(part, "single_label").names for label in row)
        for name, part in parts.items()
    }
    broken = tuple(
        (part.key(position), reason)
        for part in parts.values()
        for position, reason in sorted(scanned(part).unreadable.items())
    )
    tables = [_classes(counts)]
    if broken:
        tables.append(
            Table(
                title="images that cannot be read",
                columns=("image", "reason"),
                rows=broken[:_MOST_BROKEN],
            )
        )
    return Description(
        kind="data",
        name=str(folder),
        facts=_facts(counts, num_broken=len(broken)),
        tables=tuple(tables),
    )


def _facts(counts: Mapping[str, Counter[str]], *, num_broken: int) -> dict[str, Cell]:
    total = sum(counts.values(), start=Counter[str]())
    facts: dict[str, Cell] = {
        "images": total.total(),
        "splits": ", ".join(f"{name} {found.total()}" for name, found in counts.items()),
        "classes": len(total),
        "most frequent": "{} ({})".format(*total.most_common()[0]),
        "least frequent": "{} ({})".format(*total.most_common()[-1]),
        "cannot be read": num_broken,
    }
    missing = [
        f"{label} in {name}"
        for name, found in counts.items()
        for label in sorted(total.keys() - found.keys())
    ]
    if missing:
        facts["missing classes"] = ", ".join(missing[:8])
    return facts


def _classes(counts: Mapping[str, Counter[str]]) -> Table:
    labels = dict.fromkeys(label for found in counts.values() for label in found)
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (label, *(found[label] for found in counts.values())) for label in sorted(labels)
    )
    return Table(title="images per class", columns=("class", *counts), rows=rows)
