"""A recipe file or an override's value -> a tree of values that know the line they stand on.

YAML 1.2 through ruamel.yaml: `1e-4` is a number; `no`, `on` and `12:30` are text; a key set twice
is a problem. Dates stay text. Tags, aliases and directives are refused: a recipe is plain data.
Size, depth and numbers have bounds far above any recipe, so that no file takes long to read.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from hftune.errors import Problem, RecipeError
from hftune.files import real_path

Scalar: TypeAlias = str | int | float | bool | None
SettingPath: TypeAlias = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_TEXT = ("str", "timestamp", "merge", "value")
_OTHERS = ("null", "bool", "int", "float")
_PLAIN = "plain text, numbers, true, false, null, lists and mappings"
_MOST_BYTES = 512 * 1024
_MOST_DEPTH = 32
_LARGEST = 2**63 - 1
# What no file, printer or library takes in a text: the character 0 and halves of a pair.
_UNFIT = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Node:
    """A value and the place that set it: 'file:line', or 'override'."""

    value: "Scalar | Mapping[str, Node] | tuple[Node, ...]"
    place: str


def read_file(path: Path) -> Node:
    """Read one recipe file, without its bases; an empty file is an empty mapping.

    Raises RecipeError with every problem of this file.
    """
    shown = shown_path(path)
    text = _file_text(path, shown)
    root = _read(text, _Reading(shown))
    if root.value is None:
        return Node(value={}, place=f"{shown}:1")
    if not isinstance(root.value, Mapping):
        problem = f"this is {kind_of(root.value)}; a recipe is a mapping of settings to values"
        raise RecipeError(shown, [Problem(setting="recipe", place=root.place, text=problem)])
    return root


def read_value(text: str, setting: str) -> Node:
    """Read the value of an override such as '3e-4' or '[head, norm]'. Raises RecipeError."""
    return _read(text, _Reading("override", setting=setting, has_lines=False))


def plain(node: Node) -> Any:
    """Give the values of a tree without their places."""
    if isinstance(node.value, Mapping):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, tuple):
        return [plain(child) for child in node.value]
    return node.value


def dotted(path: SettingPath) -> str:
    """Give the name of a setting as users write it: 'unfreeze[1].at', 'optim.rates."stage.-1"'."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain_name = part.replace("_", "").replace("-", "").isalnum()
            text += ("." if text else "") + (part if plain_name else f'"{part}"')
    return text


def kind_of(value: object) -> str:
    """Name what a value is: 'a list', 'a number' ..."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a mapping" if isinstance(value, Mapping) else "a list"


def short(value: object) -> str:
    """Give a value as messages quote it, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]} ... {text[-10:]}"


def shown_path(path: Path) -> str:
    """Give a path as messages show it: relative to the working directory when it lies below it."""
    absolute = real_path(path)
    here = Path.cwd().resolve()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


class _Reading:
    """One text being read: what to call its places, and the problems met so far."""

    def __init__(self, shown: str, *, setting: str = "", has_lines: bool = True) -> None:
        self.shown = shown
        self.setting = setting
        self.has_lines = has_lines
        self.problems: list[Problem] = []
        self.seen: set[int] = set()
        self.constructor = YAML(typ="safe", pure=True).constructor

    def place(self, line: int) -> str:
        """Name the place of a line counted from 0."""
        return f"{self.shown}:{line + 1}" if self.has_lines else self.shown

    def report(self, path: SettingPath, line: int, text: str) -> None:
        """Note one problem."""
        setting = self.setting or dotted(path) or "recipe"
        self.problems.append(Problem(setting=setting, place=self.place(line), text=text))


def _file_text(path: Path, shown: str) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        if len(content) <= _MOST_BYTES:
            return content.decode("utf-8")
        text = f"this is no recipe: it has more than {_MOST_BYTES // 1024} KiB"
    except FileNotFoundError:
        text = "there is no such file; correct the path, or choose from: hftune recipe ls"
    except IsADirectoryError:
        text = "this is a folder; a recipe is a YAML file"
    except UnicodeDecodeError as error:
        text = f"this is not a text file in UTF-8 (byte {error.start})"
    except PermissionError:
        text = "this file may not be read; change its permissions"
    except OSError as error:
        text = f"this file cannot be read: {error.strerror}"
    raise RecipeError(shown, [Problem(setting="recipe", place=shown, text=text)])


def _read(text: str, reading: _Reading) -> Node:
    for number, line in enumerate(text.splitlines()):
        if line.startswith("%"):
            reading.report((), number, "remove this line; recipes are YAML 1.2 without directives")
            raise RecipeError(reading.shown, reading.problems)
    try:
        tree = _yaml().compose(text)
    except MaxDepthExceededError as error:
        complaint = f"blocks are nested too deeply; at most {_MOST_DEPTH} deep"
        reading.report((), _line(error), complaint)
    except MarkedYAMLError as error:
        reading.report((), _line(error), f"YAML cannot be read: {_complaint(error)}")
    except YAMLError as error:
        summary = str(error).splitlines()[0]
        reading.report((), 0, f"YAML cannot be read: {summary}")
    else:
        root = _node(tree, (), 0, reading) if tree is not None else Node(value=None, place="")
        if not reading.problems:
            return root
    raise RecipeError(reading.shown, reading.problems)


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = _MOST_DEPTH
    return yaml


def _line(error: MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return mark.line if mark else 0


def _complaint(error: MarkedYAMLError) -> str:
    parts = (error.context, error.problem)
    return ", ".join(part for part in parts if part)


def _node(node: Any, path: SettingPath, line: int, reading: _Reading) -> Node:
    """Turn a composed node into ours; `line` is that of its key, or of the item in a list."""
    place = reading.place(line)
    if id(node) in reading.seen:
        reading.report(path, line, "aliases (*name) are not used in recipes; write the value out")
        return Node(value=None, place=place)
    reading.seen.add(id(node))
    tag = str(node.tag)
    if isinstance(node, MappingNode) and tag == _TAG + "map":
        return Node(value=_mapping(node, path, reading), place=place)
    if isinstance(node, SequenceNode) and tag == _TAG + "seq":
        items = enumerate(node.value)
        children = (_node(item, (*path, i), item.start_mark.line, reading) for i, item in items)
        return Node(value=tuple(children), place=place)
    if isinstance(node, ScalarNode) and tag.removeprefix(_TAG) in (*_TEXT, *_OTHERS):
        return Node(value=_scalar(node, path, line, reading), place=place)
    reading.report(path, line, f"the tag {tag} is not used in recipes; give {_PLAIN}")
    return Node(value=None, place=place)


def _mapping(node: MappingNode, path: SettingPath, reading: _Reading) -> dict[str, Node]:
    found: dict[str, Node] = {}
    first_line: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line
        if not isinstance(key_node, ScalarNode):
            reading.report(path, line, "a key must be a name, not a list or mapping")
            continue
        key = key_node.value
        if _UNFIT.search(key):
            reading.report(path, line, f"the key {short(key)} holds a character that is no text")
            continue
        if key in found:
            before = first_line[key] + 1
            reading.report((*path, key), line, f"set twice; line {before} sets it before")
            continue
        first_line[key] = line
        found[key] = _node(value_node, (*path, key), line, reading)
    return found


def _scalar(node: ScalarNode, path: SettingPath, line: int, reading: _Reading) -> Scalar:
    kind = str(node.tag).removeprefix(_TAG)
    if kind in _TEXT:
        if _UNFIT.search(node.value):
            reading.report(path, line, f"{short(node.value)} holds a character that is no text")
        return str(node.value)
    try:
        value = _convert(kind, node, reading.constructor)
    except ValueError:
        reading.report(
            path, line, f"{short(node.value)} cannot be read as {kind}; put it in quotes"
        )
        return None
    if isinstance(value, float) and not math.isfinite(value):
        reading.report(path, line, f"{node.value} is not possible; give a finite number")
        return None
    if isinstance(value, int) and abs(value) > _LARGEST:
        reading.report(path, line, f"{short(node.value)} is too large for a whole number")
        return None
    return value


def _convert(kind: str, node: ScalarNode, constructor: SafeConstructor) -> Scalar:
    if kind == "null":
        return None
    if kind == "bool":
        return bool(constructor.construct_yaml_bool(node))
    if kind == "int":
        return int(constructor.construct_yaml_int(node))
    return float(constructor.construct_yaml_float(node))
