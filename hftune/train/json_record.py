"""A file of a run as a frozen dataclass: JSON read with words about what is wrong with it."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from hftune.errors import RunFolderError

T = TypeVar("T")


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object. Raises RunFolderError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunFolderError(
            "a file of this run is not JSON",
            found=str(error),
            where=str(path),
            remedy="restore the file, or train again into another folder with --output",
        ) from error
    if not isinstance(value, dict):
        raise RunFolderError(
            "a file of this run holds no JSON object",
            found=type(value).__name__,
            where=str(path),
        )
    return value


def build_record(cls: type[T], raw: Any, where: str) -> T:
    """Make the dataclass `cls` from a mapping. Raises RunFolderError naming the odd keys."""
    if not isinstance(raw, Mapping):
        raise RunFolderError("expected a JSON object", found=type(raw).__name__, where=where)
    known = {item.name for item in fields(cls)}  # type: ignore[arg-type]  # T is a dataclass
    unknown = sorted(set(raw) - known)
    if unknown:
        raise RunFolderError(
            "this file was written by another version of hftune",
            found="unknown " + ", ".join(unknown),
            where=where,
        )
    try:
        return cls(**raw)
    except TypeError as error:
        raise RunFolderError(
            "a file of this run is incomplete", found=str(error), where=where
        ) from error
