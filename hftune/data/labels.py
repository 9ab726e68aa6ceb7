"""Class names: read from a column, ordered once by the training split, encoded as targets."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hftune.core import LabelSpace, ProblemName
from hftune.data.columns import class_names, kind_of
from hftune.data.order import Positions
from hftune.data.part import Part
from hftune.data.rows import Targets
from hftune.errors import DataError

logger = logging.getLogger(__name__)

SEPARATOR = "|"
_SHOWN = 8

Names = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RowLabels:
    """The class names of each row of a part, and the order that the source declares, if any."""

    part: str
    names: Sequence[Names]
    declared: Names | None = None

    def at(self, positions: Positions) -> RowLabels:
        """Give the labels of some rows."""
        return replace(self, names=[self.names[position] for position in positions])


@dataclass(frozen=True, kw_only=True)
class _Column:
    """What a label column holds: `name_of` gives None for a value that stands for no class."""

    is_list: bool
    is_text: bool
    declared: Names | None
    name_of: Callable[[object], str | None]


def read_labels(part: Part, problem: ProblemName) -> RowLabels:
    """Read a part's label column as names: one a row, or any number with several labels.

    Class features give their names, integers become texts; with several labels a text is split at
    '|'. Raises DataError for labels that are absent, out of range or of another type.
    """
    column = _column(part)
    if column.is_list and problem == "single_label":
        raise DataError(
            "the label column holds lists, but the problem has one label per image",
            where=f"column '{part.label}' of {part.name}",
            remedy="set problem=multi_label, or name a column with one class per row",
        )
    cells = part.table.with_format(None)[part.label][:]
    if problem == "multi_label":
        cells = [_values(cell, column) for cell in cells]
    else:
        cells = [[cell] for cell in cells]
    names = [[column.name_of(value) for value in cell] for cell in cells]
    _refuse_no_class(part, cells, names)
    unique = [tuple(dict.fromkeys(name for name in row if name is not None)) for row in names]
    return RowLabels(part=part.name, names=unique, declared=column.declared)


def order_names(labels: RowLabels) -> Names:
    """Give the classes in the order the source declares, else sorted; numbers by their value."""
    if labels.declared is not None:
        return labels.declared
    names = {name for row in labels.names for name in row}
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def encode(labels: RowLabels, space: LabelSpace) -> Targets:
    """Give targets by name: int64 [N] positions, or float32 [N, K] with several labels.

    Raises DataError for classes that the training split does not have.
    """
    index = space.index
    unknown = Counter(name for row in labels.names for name in row if name not in index)
    if unknown:
        raise DataError(
            f"the split '{labels.part}' has classes that the training split does not have",
            found=_counted(unknown, "image"),
            allowed=_listed(space.names),
            remedy="rename them, take their images out, or add such images to the training split",
        )
    if not space.multi:
        return np.array([index[row[0]] for row in labels.names], dtype=np.int64)
    targets = np.zeros((len(labels.names), space.size), dtype=np.float32)
    for row, names in enumerate(labels.names):
        targets[row, [index[name] for name in names]] = 1
    return targets


def count_classes(targets: Targets, num_classes: int) -> tuple[int, ...]:
    """Give the number of examples of each class."""
    if targets.ndim == 2:
        return tuple(int(count) for count in targets.sum(axis=0, dtype=np.int64))
    return tuple(int(count) for count in np.bincount(targets, minlength=num_classes))


def check_number(names: Names, problem: ProblemName, *, where: str) -> None:
    """Raise DataError where there is nothing to tell apart."""
    least = 2 if problem == "single_label" else 1
    if len(names) < least:
        raise DataError(
            "there are too few classes in the training split",
            found=_listed(names) or "none",
            allowed=f"at least {least}",
            where=where,
            remedy="check the folder or the column that the labels come from",
        )


def missing_classes(targets: Targets, space: LabelSpace) -> Names:
    """Give the classes without an example."""
    counts = count_classes(targets, space.size)
    return tuple(name for name, count in zip(space.names, counts, strict=True) if count == 0)


def missing_error(split: str, missing: Names, space: LabelSpace) -> DataError:
    """Give the error about classes without an example in a split."""
    return DataError(
        f"the split '{split}' has no image of {len(missing)} of {space.size} classes",
        found=_listed(missing),
        allowed="at least one image of every class in every split",
        remedy="add images of them, or take these classes out of the data; to go on without them:"
        " data.missing_classes=warn",
    )


def _column(part: Part) -> _Column:
    """Say how to read the label column. Raises DataError for a type that holds no classes."""
    feature = part.table.features[part.label]
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    element = feature if inner is None else inner
    dtype = str(getattr(element, "dtype", ""))
    declared = class_names(element)
    if declared is not None:
        name_of = _name_by_position(declared)
    elif dtype in ("string", "large_string"):
        name_of = _name_of_text
    elif dtype == "bool" or dtype.startswith(("int", "uint")):
        name_of = _name_of_integer
    else:
        raise DataError(
            "the label column holds no classes",
            found=f"column '{part.label}' of {part.name}: {kind_of(feature)}",
            allowed="class labels, texts or integers; with problem: multi_label also lists of them",
            remedy="name another column, or turn it into classes",
        )
    return _Column(
        is_list=inner is not None,
        is_text=dtype in ("string", "large_string"),
        declared=declared,
        name_of=name_of,
    )


def _name_by_position(names: Names) -> Callable[[object], str | None]:
    def name_of(value: object) -> str | None:
        return names[value] if isinstance(value, int) and 0 <= value < len(names) else None

    return name_of


def _name_of_integer(value: object) -> str | None:
    return None if value is None or (isinstance(value, int) and value < 0) else str(value)


def _name_of_text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _values(cell: object, column: _Column) -> list[object]:
    """Give the labels in one cell, where there may be several; an empty cell has none."""
    if cell is None:
        return []
    if column.is_text and isinstance(cell, str):
        return [piece.strip() for piece in cell.split(SEPARATOR) if piece.strip()]
    return list(cell) if isinstance(cell, list) else [cell]


def _refuse_no_class(
    part: Part, cells: Sequence[Sequence[object]], names: Sequence[Sequence[str | None]]
) -> None:
    wrong: Counter[str] = Counter()
    for cell, row in zip(cells, names, strict=True):
        wrong.update(
            "no label" if value is None else repr(value)
            for value, name in zip(cell, row, strict=True)
            if name is None
        )
    if wrong:
        raise DataError(
            f"the split '{part.name}' has labels that stand for no class",
            found=_counted(wrong, "row"),
            where=f"column '{part.label}'",
            remedy="correct or remove these rows; a split without labels (a public test set, say)"
            " cannot be used: leave it out of the source",
        )


def _counted(counter: Counter[str], noun: str) -> str:
    texts = [
        f"{name} ({count} {noun}{'s' * (count > 1)})" for name, count in counter.most_common(_SHOWN)
    ]
    return _cut(texts, len(counter))


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return _cut(names[:_SHOWN], len(names))


def _cut(texts: Sequence[str], total: int) -> str:
    more = f" and {total - len(texts)} more" if total > len(texts) else ""
    return ", ".join(texts) + more
