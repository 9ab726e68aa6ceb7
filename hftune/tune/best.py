"""best.yaml: the best trial's settings as a recipe that inherits the one that was searched."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hftune.files import is_file, real_path, write_text
from hftune.recipe.overrides import parse_override
from hftune.recipe.read import SettingPath
from hftune.recipe.schema import Recipe
from hftune.recipe.show import to_dict, values_to_yaml

BEST_FILE = "best.yaml"


def write_best_recipe(
    path: Path, recipe: Recipe, *, source: str, overrides: Sequence[str], title: str
) -> None:
    """Write the recipe that `source` with `overrides` is, as one that trains by itself.

    `title` becomes its first comment. Called by rank 0 only. Raises DiskError.
    """
    values: dict[str, Any] = {"base": _base(source, path.parent), "run": recipe.run}
    whole = to_dict(recipe)
    for override in overrides:
        _copy(_part(parse_override(override)[0]), whole, values)
    write_text(path, f"# {title}\n{values_to_yaml(values)}")


def _base(source: str, folder: Path) -> str:
    """Name the searched recipe as seen from `folder`; one that comes with hftune by its name."""
    if Path(source).suffix not in (".yaml", ".yml") and not is_file(Path(source)):
        return source
    return os.path.relpath(real_path(Path(source)), real_path(folder))


def _part(path: SettingPath) -> tuple[str, ...]:
    """Give what can be written down of a setting: lists are replaced whole."""
    names: list[str] = []
    for part in path:
        if isinstance(part, int):
            break
        names.append(part)
    return tuple(names)


def _copy(path: Sequence[str], whole: Mapping[str, Any], values: dict[str, Any]) -> None:
    """Put the value of `whole` at `path` there in `values`, too."""
    name, *rest = path
    if not rest:
        values[name] = whole[name]
        return
    inner = values.setdefault(name, {})
    _copy(rest, whole[name], inner)
