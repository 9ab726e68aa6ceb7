"""What the annotations of settings and options say, taken apart: fields, components, limits."""

from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from hftune.recipe.read import SettingPath
from hftune.recipe.schema import Component, Recipe


@cache
def field_hints(kind: type) -> dict[str, Any]:
    """Give the annotation of each field of a dataclass, limits included."""
    return get_type_hints(kind, include_extras=True)


def bare(hint: Any) -> Any:
    """Give an annotation without its limits."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def limits(hint: Any) -> tuple[Any, ...]:
    """Give the limits of an annotation: what follows the type in Annotated."""
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def members(hint: Any) -> tuple[Any, ...]:
    """Give the alternatives of an annotation: the members of a union, or the annotation alone."""
    inner = bare(hint)
    if get_origin(inner) not in (Union, UnionType):
        return (hint,)
    return tuple(part for member in get_args(inner) for part in members(member))


def block_of(hint: Any) -> type | None:
    """Give the dataclass among the alternatives of an annotation, or None."""
    for member in members(hint):
        if is_dataclass(bare(member)):
            return bare(member)  # type: ignore[no-any-return]  # is_dataclass does not narrow Any
    return None


def item_of(hint: Any) -> Any | None:
    """Give the annotation of the entries among the alternatives that are lists, or None."""
    for member in members(hint):
        inner = get_args(bare(member))
        if get_origin(bare(member)) is tuple and inner[1:] == (...,):
            return inner[0]
    return None


@cache
def component_paths() -> dict[SettingPath, bool]:
    """Give the settings of a recipe that hold components, and whether each is a list of them."""
    return dict(_components(Recipe, ()))


def _components(kind: type, path: SettingPath) -> Iterator[tuple[SettingPath, bool]]:
    for name, hint in field_hints(kind).items():
        block = block_of(hint)
        if Component in (block, item_of(hint)):
            yield (*path, name), block is None
        elif block is not None:
            yield from _components(block, (*path, name))
