"""Columns of a table: are they there, and what do they hold.

A table is one of `datasets`, or anything with the few members of it that reading takes. What a
column holds is told by the name of its feature's type, so that `datasets`, which takes a second and
80 MiB beside torch, is loaded only by what needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

from hftune.errors import DataError


class Table(Protocol):
    """What is read of a table of the `datasets` library."""

    def __len__(self) -> int:
        """The number of rows."""

    def __getitem__(self, key: Any) -> Any:
        """A column by name, a row by number."""

    @property
    def column_names(self) -> list[str]:
        """The columns in their order."""

    @property
    def features(self) -> Mapping[str, Any]:
        """What each column holds."""

    def with_format(self, kind: None, /) -> Self:
        """The same rows as plain Python values."""

    def select_columns(self, column_names: list[str], /) -> Self:
        """The same rows with some of their columns."""


def class_names(feature: object) -> tuple[str, ...] | None:
    """Give the classes that a column declares, in their order; None for another kind of column."""
    is_declared = type(feature).__name__ == "ClassLabel"
    return tuple(getattr(feature, "names", ())) if is_declared else None


def check_columns(rows: Table, wanted: Sequence[str], *, where: str) -> None:
    """Raise DataError where a wanted column is absent, and list those there are."""
    absent = [name for name in wanted if name not in rows.column_names]
    if absent:
        raise DataError(
            f"there is no column {' and no column '.join(repr(name) for name in absent)}",
            allowed=", ".join(f"{name} ({kind_of(rows.features[name])})" for name in rows.features),
            where=where,
            remedy="name the columns of images and labels with data.source.image and"
            " data.source.label",
        )


def kind_of(feature: object) -> str:
    """Name the type of a column in a word or two."""
    dtype = getattr(feature, "dtype", None)
    is_plain = type(feature).__name__ == "Value" and dtype is not None
    return str(dtype) if is_plain else type(feature).__name__
