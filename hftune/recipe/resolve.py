"""A recipe with its bases and overrides -> one tree in which every value knows what set it.

Bases apply first, depth first, each file once, then the file itself, then the overrides; later
wins. Mappings merge key by key, lists are replaced whole, null is a value, and a block with a
`name` is replaced whole when the name changes, because its options belong to the function named.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hftune.errors import Problem, RecipeError
from hftune.files import is_file, real_path
from hftune.recipe.overrides import apply_override
from hftune.recipe.read import Node, SettingPath, kind_of, read_file, shown_path
from hftune.recipe.shipped import find_shipped, list_shipped
from hftune.recipe.types import component_paths
from hftune.recipe.wording import did_you_mean

_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class Merged:
    """All layers of a recipe as one tree, not yet checked; `source` is its name in messages.

    `files` are the recipe and its bases in the order in which they applied.
    """

    root: Node
    source: str
    files: tuple[Path, ...]


def merge_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Merged:
    """Read `source` (a path, or the name of a shipped recipe), its bases and the overrides.

    Raises RecipeError with every problem of every file, or else of every override.
    """
    path = locate(str(source), Path())
    shown = shown_path(path)
    reading = _Reading(source=shown)
    _gather(path, (), reading)
    reading.finish()
    root = Node(value={}, place=f"{shown}:1")
    for layer in reading.layers:
        root = merge(root, layer)
    for override in overrides:
        try:
            root = apply_override(root, override, merge=merge_spelled)
        except RecipeError as error:
            reading.problems.extend(error.problems)
    reading.finish()
    return Merged(root=root, source=shown, files=tuple(reading.done))


def locate(text: str, folder: Path) -> Path:
    """Give the file that `text` names: a path from `folder`, or a shipped recipe.

    A text that ends in .yaml or .yml is always a path. Raises RecipeError.
    """
    path = folder / text
    if path.suffix in _SUFFIXES or is_file(path):
        return path
    shipped = find_shipped(text)
    if shipped is not None:
        return shipped
    close = did_you_mean(text, [recipe.name for recipe in list_shipped()])
    problem = f"neither a file nor a recipe that comes with hftune{close}"
    raise RecipeError(
        text,
        [Problem(setting="recipe", place=text, text=problem)],
        remedy="See the recipes that come with hftune: hftune recipe ls",
    )


def merge(old: Node, new: Node) -> Node:
    """Give `old` overlaid by `new`."""
    if not isinstance(old.value, Mapping) or not isinstance(new.value, Mapping):
        return new
    if "name" in old.value and "name" in new.value and _differ(old, new):
        return new
    merged = dict(old.value)
    for key, child in new.value.items():
        merged[key] = merge(merged[key], child) if key in merged else child
    return Node(value=merged, place=new.place)


def merge_spelled(old: Node, new: Node) -> Node:
    """Give `old` overlaid by `new`, which may name components by a bare text."""
    return merge(old, spell_components(new, Path.cwd()))


def spell_components(root: Node, folder: Path) -> Node:
    """Turn a bare `adamw` into `{name: adamw}`, and './poly.py:poly1' into a path from anywhere.

    Done for each layer before it merges: only there the folder of its file is known.
    """
    for path, is_list in component_paths().items():
        spell = partial(_spelled_list if is_list else _spelled, folder=folder)
        root = _changed_at(root, path, spell)
    return root


class _Reading:
    """The files met while following bases, and the problems met so far."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.done: dict[Path, None] = {}
        self.layers: list[Node] = []
        self.problems: list[Problem] = []

    def finish(self) -> None:
        """Raise RecipeError if there were problems."""
        if self.problems:
            raise RecipeError(self.source, self.problems)


def _gather(path: Path, chain: tuple[Path, ...], reading: _Reading) -> None:
    """Add the layers of `path`: its bases first, depth first, each file once."""
    real = real_path(path)
    if real in reading.done:
        return
    try:
        root = read_file(path)
    except RecipeError as error:
        reading.problems.extend(error.problems)
        reading.done[real] = None
        return
    assert isinstance(root.value, Mapping)
    for node in _bases(root, reading):
        _follow(node, (*chain, path), reading)
    reading.done[real] = None
    own = {key: child for key, child in root.value.items() if key != "base"}
    reading.layers.append(spell_components(replace(root, value=own), path.absolute().parent))


def _follow(node: Node, chain: tuple[Path, ...], reading: _Reading) -> None:
    """Gather one base, unless it is missing or already being gathered."""
    text = str(node.value)
    try:
        path = locate(text, chain[-1].parent)
    except RecipeError as error:
        problem = error.problems[0].text
        reading.problems.append(
            Problem(setting="base", place=node.place, text=f"'{text}': {problem}")
        )
        return
    loop = [other for other in chain if real_path(other) == real_path(path)]
    if loop:
        steps = [*chain[chain.index(loop[0]) :], path]
        shown = "\n  -> ".join(shown_path(Path(step)) for step in steps)
        text = f"this recipe inherits itself; remove one of these steps\n     {shown}"
        reading.problems.append(Problem(setting="base", place=node.place, text=text))
    elif not is_file(path):
        text = f"there is no file '{text}' beside {chain[-1].name}; looked for {shown_path(path)}"
        reading.problems.append(Problem(setting="base", place=node.place, text=text))
    else:
        _gather(path, chain, reading)


def _bases(root: Node, reading: _Reading) -> list[Node]:
    """Give the nodes that name a base; anything else is noted as a problem."""
    assert isinstance(root.value, Mapping)
    base = root.value.get("base")
    if base is None:
        return []
    nodes = list(base.value) if isinstance(base.value, tuple) else [base]
    for node in nodes:
        if not isinstance(node.value, str):
            text = f"this is {kind_of(node.value)}; give the path of a recipe, or a list of paths"
            reading.problems.append(Problem(setting="base", place=node.place, text=text))
    return [node for node in nodes if isinstance(node.value, str)]


def _differ(old: Node, new: Node) -> bool:
    assert isinstance(old.value, Mapping)
    assert isinstance(new.value, Mapping)
    return old.value["name"].value != new.value["name"].value


def _changed_at(node: Node, path: SettingPath, change: Callable[[Node], Node]) -> Node:
    """Give a tree with the node at `path`, if there is one, changed."""
    if not path:
        return change(node)
    if not isinstance(node.value, Mapping) or path[0] not in node.value:
        return node
    key = str(path[0])
    child = _changed_at(node.value[key], path[1:], change)
    return replace(node, value={**node.value, key: child})


def _spelled_list(node: Node, folder: Path) -> Node:
    if not isinstance(node.value, tuple):
        return node
    return replace(node, value=tuple(_spelled(item, folder) for item in node.value))


def _spelled(node: Node, folder: Path) -> Node:
    if isinstance(node.value, str):
        return replace(node, value={"name": replace(node, value=_absolute(node.value, folder))})
    if isinstance(node.value, Mapping) and "name" in node.value:
        name = node.value["name"]
        if isinstance(name.value, str):
            name = replace(name, value=_absolute(name.value, folder))
            return replace(node, value={**node.value, "name": name})
    return node


def _absolute(name: str, folder: Path) -> str:
    """Give './poly.py:poly1' with the full path of its file; any other name as it is."""
    file, colon, function = name.rpartition(":")
    if colon and file.startswith(("./", "../")):
        return f"{real_path(folder / file)}:{function}"
    return name
