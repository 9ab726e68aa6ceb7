"""Which line, override or default set a value."""

from collections.abc import Mapping
from typing import Any

from hftune.recipe.read import Node, SettingPath, dotted

DEFAULT = "default"


def place_of(root: Node, path: SettingPath) -> str:
    """Give the place of a setting, or of the closest block around it that is written down."""
    node = root
    for part in path:
        child = _child(node, part)
        if child is None:
            break
        node = child
    return node.place


def origins_of(values: Mapping[str, Any], root: Node) -> dict[str, str]:
    """Give the place of every single value, by the dotted name of its setting."""
    return {dotted(path): _origin(root, path) for path, _ in leaves(values)}


def leaves(values: Any, path: SettingPath = ()) -> list[tuple[SettingPath, Any]]:
    """Give every single value with its setting; an empty list or block counts as one value."""
    if isinstance(values, Mapping) and values:
        parts: list[tuple[str | int, Any]] = list(values.items())
    elif isinstance(values, list) and values:
        parts = list(enumerate(values))
    else:
        return [(path, values)]
    return [leaf for part, child in parts for leaf in leaves(child, (*path, part))]


def _origin(root: Node, path: SettingPath) -> str:
    node = root
    for part in path:
        child = _child(node, part)
        if child is None:
            return DEFAULT if isinstance(node.value, Mapping) else node.place
        node = child
    return node.place


def _child(node: Node, part: str | int) -> Node | None:
    if isinstance(node.value, Mapping):
        return node.value.get(str(part))
    if isinstance(node.value, tuple) and isinstance(part, int):
        return node.value[part] if part < len(node.value) else None
    return None
