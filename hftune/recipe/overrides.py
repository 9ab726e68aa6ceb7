"""Overrides from the command line: 'optim.lr=3e-4' -> a change of the recipe's tree."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from hftune.errors import Problem, RecipeError
from hftune.recipe.read import Node, SettingPath, dotted, read_value

_PART = re.compile(
    r'(?:^|\.)(?:"(?P<quoted>[^"]+)"|(?P<name>[^.\[\]"=\s]+))|\[(?P<index>\d{1,9})\]'
)
_FORM = "write it as key.path=value, such as optim.lr=3e-4"


def parse_override(text: str) -> tuple[SettingPath, Node]:
    """Read 'key.path=value'. Raises RecipeError when it has another form or no value."""
    head, equals, value = split_override(text)
    path = _parse_path(head)
    if not equals or path is None:
        raise _problem(text, f"this override cannot be read; {_FORM}")
    if path[0] == "base":
        raise _problem("base", "an override cannot change what is inherited; edit the recipe")
    if not value.strip():
        raise _problem(dotted(path), f"no value; for nothing at all write {head}=null")
    return path, read_value(value, dotted(path))


def split_override(text: str) -> tuple[str, str, str]:
    """Split at the first '=' that is not inside quotes: setting, '=' or nothing, value."""
    quoted = False
    for position, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        if letter == "=" and not quoted:
            return text[:position].strip(), "=", text[position + 1 :]
    return text, "", ""


def apply_override(root: Node, text: str, *, merge: Callable[[Node, Node], Node]) -> Node:
    """Give `root` with one override applied by `merge`.

    A list is reached by position ('data.augment[0].min_scale=0.5') and must be long enough.
    Raises RecipeError.
    """
    path, value = parse_override(text)
    return _overlay(root, path, value, merge=merge)


def _overlay(
    root: Node, path: SettingPath, value: Node, *, merge: Callable[[Node, Node], Node]
) -> Node:
    """Give `root` with `value` merged in at `path`; a position in a list splits the path."""
    first = next((i for i, part in enumerate(path) if isinstance(part, int)), None)
    if first is None:
        return merge(root, _nested(path, value))
    index = path[first]
    assert isinstance(index, int)
    items = _at(root, path[:first])
    if items is None or not isinstance(items.value, tuple):
        raise _problem(
            dotted(path), f"'{dotted(path[:first])}' is not a list in this recipe; set all of it"
        )
    if index >= len(items.value):
        count = len(items.value)
        raise _problem(dotted(path), f"there is no [{index}]; the list has {count}, from [0] on")
    entry = _overlay(items.value[index], path[first + 1 :], value, merge=merge)
    changed = (*items.value[:index], entry, *items.value[index + 1 :])
    return merge(root, _nested(path[:first], replace(items, value=changed)))


def _parse_path(text: str) -> SettingPath | None:
    parts: list[str | int] = []
    position = 0
    while position < len(text):
        match = _PART.match(text, position)
        if match is None:
            return None
        index = match["index"]
        parts.append(int(index) if index is not None else match["quoted"] or match["name"])
        position = match.end()
    return tuple(parts) if parts and isinstance(parts[0], str) else None


def _nested(path: SettingPath, value: Node) -> Node:
    for part in reversed(path):
        value = Node(value={str(part): value}, place=value.place)
    return value


def _at(node: Node, path: SettingPath) -> Node | None:
    for part in path:
        if not isinstance(node.value, Mapping) or part not in node.value:
            return None
        node = node.value[str(part)]
    return node


def _problem(setting: str, text: str) -> RecipeError:
    return RecipeError("override", [Problem(setting=setting, place="override", text=text)])
