"""Columns of a `datasets` table: are they there, and what do they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hftune.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


def check_columns(rows: Dataset, wanted: Sequence[str], *, where: str) -> None:
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
