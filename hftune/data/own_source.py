"""What a data source gave -> Found: a source of one's own may give plain tables by split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hftune.core import DataFacts
from hftune.data.columns import check_columns
from hftune.data.part import Found, Part
from hftune.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

IMAGE, LABEL = "image", "label"
_SPLITS = ("train", "val", "test")
_ALLOWED = "a mapping of 'train', and perhaps 'val' and 'test', to tables of the `datasets` library"


def as_found(given: object, *, source: str) -> Found:
    """Give `Found` as it is, and a mapping of split names to tables as parts of it.

    A table has the columns "image" (paths, bytes or images) and "label"; relative paths start in
    the working directory. Raises DataError for anything else.
    """
    if isinstance(given, Found):
        return given
    if not isinstance(given, Mapping):
        raise DataError(
            "this data source does not give tables",
            found=type(given).__name__,
            allowed=_ALLOWED,
            where=source,
        )
    unknown = [str(name) for name in given if name not in _SPLITS]
    if unknown:
        raise DataError(
            "this data source names splits that hftune does not know",
            found=", ".join(unknown),
            allowed=", ".join(_SPLITS),
            where=source,
        )
    parts = {name: _part(table, name, source) for name, table in given.items()}
    return Found(parts=parts, facts=DataFacts(path=source.rpartition("/")[2]))


def _part(table: object, name: str, source: str) -> Part:
    from datasets import Dataset  # an optional dependency, slow to import

    where = f"'{name}' of {source}"
    if not isinstance(table, Dataset):
        raise DataError(
            "this data source does not give tables",
            found=f"{name}: {type(table).__name__}",
            allowed=_ALLOWED,
            where=source,
        )
    check_columns(table, (IMAGE, LABEL), where=where)
    if _holds_paths(table):
        return Part(table=table, image=IMAGE, label=LABEL, name=name, root=Path.cwd())
    origin = f"{source} {table._fingerprint}"  # changes with the content of the table
    return Part(table=table, image=IMAGE, label=LABEL, name=name, origin=origin)


def _holds_paths(table: Dataset) -> bool:
    return str(getattr(table.features[IMAGE], "dtype", "")) in ("string", "large_string")
