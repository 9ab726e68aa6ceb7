"""A recipe's tree against its dataclasses: unknown keys, spelled-out components, misplaced truth.

Gives plain values that the type checker of `check.py` can take as they are.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from hftune.recipe.read import Node, SettingPath, dotted, plain, short
from hftune.recipe.schema import Component, Recipe
from hftune.recipe.types import bare, block_of, field_hints, item_of, members
from hftune.recipe.wording import describe, did_you_mean, listed

Report = Callable[[SettingPath, str], None]


def shape(node: Node, hint: Any, path: SettingPath, report: Report) -> Any:
    """Give the plain values of a tree, without the unknown keys, each of which is reported."""
    block = block_of(hint)
    if block is Component:
        return _component(node)
    if block is not None and isinstance(node.value, Mapping):
        return _block(node.value, block, path, report)
    item = item_of(hint)
    if item is not None and isinstance(node.value, tuple):
        entries = enumerate(node.value)
        return [shape(entry, item, (*path, index), report) for index, entry in entries]
    value = plain(node)
    refuse_truth(value, hint, path, report)
    return value


def refuse_truth(value: object, hint: Any, path: SettingPath, report: Report) -> None:
    """Report true or false given for a number, which the type checker would take as 1 or 0."""
    kinds = {bare(member) for member in members(hint)}
    if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
        report(path, f"{short(value).lower()} is not possible; give {describe(hint)}")


def _block(
    values: Mapping[str, Node], block: type, path: SettingPath, report: Report
) -> dict[str, Any]:
    hints = field_hints(block)
    shaped = {}
    for key, child in values.items():
        if key in hints:
            shaped[key] = shape(child, hints[key], (*path, key), report)
        else:
            report((*path, key), _unknown(key, list(hints), path))
    return shaped


def _component(node: Node) -> Any:
    value = plain(node)
    if isinstance(value, str):
        return {"name": value, "options": {}}
    if not isinstance(value, Mapping):
        return value
    options = {key: option for key, option in value.items() if key != "name"}
    return {key: value[key] for key in ("name",) if key in value} | {"options": options}


def _unknown(key: str, known: list[str], path: SettingPath) -> str:
    """Say that a key is unknown, with the closest name here or the same name elsewhere."""
    if key == "base":
        return "'base' is possible at the top of a file only"
    close = did_you_mean(key, known)
    if close:
        return "no such setting" + close
    elsewhere = [dotted(found) for found in _all_settings() if found[-1] == key]
    if elsewhere:
        return f"no such setting here; did you mean {listed(elsewhere)}?"
    here = f"in '{dotted(path)}'" if path else "at the top"
    return f"no such setting; possible {here}: {', '.join(known)}"


@cache
def _all_settings() -> tuple[SettingPath, ...]:
    return tuple(_settings(Recipe, ()))


def _settings(block: type, path: SettingPath) -> Iterator[SettingPath]:
    for name, hint in field_hints(block).items():
        yield (*path, name)
        inner = block_of(hint)
        if inner is not None and inner is not Component:
            yield from _settings(inner, (*path, name))
