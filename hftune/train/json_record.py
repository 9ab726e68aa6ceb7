"""A file of a run as a frozen dataclass: JSON read with words about what is wrong with it."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from hftune.errors import RunFolderError
from hftune.files import read_json

T = TypeVar("T")


class _Misfit(Exception):
    """A value that is not of the kind its field is declared as."""


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object. Raises RunFolderError."""
    try:
        value = read_json(path)
    except ValueError as error:
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
    """Make the dataclass `cls` from a mapping, with the dataclasses in it, lists as tuples.

    Every value has the kind that its field is declared as. What is a `cls` already is given back.
    Raises RunFolderError naming the odd keys or the odd value.
    """
    if isinstance(raw, cls):
        return raw
    if not isinstance(raw, Mapping):
        raise RunFolderError("expected a JSON object", found=type(raw).__name__, where=where)
    hints = _hints(cls)
    unknown = sorted(set(raw) - set(hints))
    if unknown:
        raise RunFolderError(
            "this file was written by another version of hftune",
            found="unknown " + ", ".join(unknown),
            where=where,
        )
    values = {}
    for name, value in raw.items():
        try:
            values[name] = _fitted(value, hints[name], f"{where}: {name}")
        except _Misfit as error:
            raise RunFolderError(
                "a value in a file of this run is of another kind",
                found=f"{name}: {_short(value)}",
                where=where,
                remedy="restore the file, or train again into another folder with --output",
            ) from error
    missing = [name for name in _needed(cls) if name not in values]
    if missing:
        raise RunFolderError(
            "a file of this run is incomplete", found=f"no {', '.join(missing)}", where=where
        )
    return cls(**values)


def _fitted(value: Any, hint: Any, where: str) -> Any:
    """Give a JSON value as what its field is declared as. Raises _Misfit, RunFolderError."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Any, object):
        return value
    if kind in (Union, UnionType):
        return _first_fit(value, inner, where)
    if kind is Literal:
        return _only(value, value in inner)
    if is_dataclass(kind):
        return build_record(cast("type[object]", kind), value, where)
    if kind is float:
        return _number(value)
    if kind in (str, bool, int, NoneType):
        return _only(value, type(value) is kind)
    if issubclass(kind, Mapping):
        _only(value, isinstance(value, Mapping))
        return {key: _fitted(item, inner[1], f"{where}.{key}") for key, item in value.items()}
    assert issubclass(kind, Sequence), f"no rule for {hint}"
    _only(value, isinstance(value, list | tuple))
    return tuple(_fitted(item, inner[0], f"{where}[{i}]") for i, item in enumerate(value))


def _first_fit(value: Any, hints: Sequence[Any], where: str) -> Any:
    """Give the value as the first of several kinds that it has; null is for those that say so."""
    if value is None:
        return _only(value, NoneType in hints)
    others = [hint for hint in hints if hint is not NoneType]
    for hint in others[:-1]:
        try:
            return _fitted(value, hint, where)
        except _Misfit:
            continue
    return _fitted(value, others[-1], where)


def _number(value: Any) -> float:
    _only(value, isinstance(value, int | float) and not isinstance(value, bool))
    try:
        return float(value)
    except OverflowError as error:
        raise _Misfit from error


def _only(value: Any, fits: bool) -> Any:
    if not fits:
        raise _Misfit
    return value


def _hints(cls: type) -> dict[str, Any]:
    """Give the declared kind of every field that a mapping may set."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls) if field.init}


def _needed(cls: type) -> list[str]:
    """Give the names of the fields that have no default."""
    absent = (MISSING, MISSING)
    return [f.name for f in fields(cls) if f.init and (f.default, f.default_factory) == absent]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
