"""A merged tree -> Recipe, or one RecipeError with every problem, its place and what is allowed.

The only file of this folder that knows pydantic.
"""

from collections.abc import Iterable, Iterator
from typing import Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from hftune.errors import Problem, RecipeError
from hftune.recipe.origins import place_of
from hftune.recipe.read import SettingPath, dotted
from hftune.recipe.resolve import Merged
from hftune.recipe.rules import broken_rules
from hftune.recipe.schema import Component, Recipe
from hftune.recipe.shape import shape
from hftune.recipe.types import bare, block_of, field_hints, item_of, members
from hftune.recipe.wording import Fault, sentence

ADAPTER = TypeAdapter(Recipe)

_LOST = object()


def check(merged: Merged) -> Recipe:
    """Give the checked recipe. Raises RecipeError with every problem of shape and range."""
    found: dict[SettingPath, str] = {}
    values = shape(merged.root, Recipe, (), found.__setitem__)
    try:
        recipe = ADAPTER.validate_python(values)
    except ValidationError as error:
        for path, text in explain(error, values, Recipe):
            if not any(path[: len(known)] == known for known in found):
                found[path] = text
    else:
        found.update(broken_rules(recipe))
        if not found:
            return recipe
    raise recipe_error(merged, found.items())


def recipe_error(merged: Merged, found: Iterable[tuple[SettingPath, str]]) -> RecipeError:
    """Give the error for problems at settings, in the order of their lines."""
    problems = [
        Problem(setting=dotted(path), place=place_of(merged.root, path), text=text)
        for path, text in found
    ]
    remedy = f"See where each value comes from: hftune recipe show {merged.source} --origin"
    return RecipeError(merged.source, sorted(problems, key=_line), remedy=remedy)


def explain(
    error: ValidationError, values: Any, hint: Any, subject: str | None = None
) -> Iterator[tuple[SettingPath, str]]:
    """Give one sentence per setting that `error` complains about.

    `subject` is what a sentence calls the value; left out, the name of the setting.
    """
    faults: dict[SettingPath, list[Fault]] = {}
    for details in error.errors(include_url=False):
        path, kind = _setting(details["loc"], hint), details["type"]
        if kind == "missing" and path and isinstance(path[-1], int):
            path, kind = path[:-1], "too_short"  # the list lacks an entry
        fault = Fault(kind=kind, facts=details.get("ctx", {}))
        faults.setdefault(path, []).append(fault)
    for path, complaints in faults.items():
        value, allowed = _reach(values, hint, path)
        names = [part for part in path if isinstance(part, str)]
        name = subject or f"'{names[-1]}'"
        yield path, sentence(complaints, value, allowed, name)


def _setting(loc: tuple[int | str, ...], hint: Any) -> SettingPath:
    """Give the setting that a location of the library means: without union members and options."""
    path: SettingPath = ()
    for part in loc:
        if block_of(hint) is Component and part == "options":
            continue
        hint = _inside(hint, part)
        if hint is _LOST:
            break
        path = (*path, part)
    return path


def _inside(hint: Any, part: int | str) -> Any:
    """Give the annotation of a part of a value, or _LOST where the annotation has no such part."""
    block = block_of(hint)
    if block is not None:
        return field_hints(block).get(str(part), _LOST)
    if isinstance(part, int):
        item = item_of(hint)
        return _entry(hint, part) if item is None else item
    inner = get_args(bare(hint))
    is_mapping = len(members(hint)) == 1 and len(inner) == 2 and get_origin(bare(hint)) is not tuple
    return inner[1] if is_mapping else _LOST


def _entry(hint: Any, index: int) -> Any:
    """Give the annotation of one entry of a list of fixed length."""
    inner = get_args(bare(hint))
    is_fixed = len(members(hint)) == 1 and get_origin(bare(hint)) is tuple and index < len(inner)
    return inner[index] if is_fixed else _LOST


def _reach(values: Any, hint: Any, path: SettingPath) -> tuple[Any, Any]:
    """Give the value at a setting (None where there is none) and its annotation."""
    for part in path:
        hint = _inside(hint, part)
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            values = None
    return values, hint


def _line(problem: Problem) -> tuple[str, int]:
    file, _, line = problem.place.rpartition(":")
    return (file, int(line)) if line.isdecimal() else (problem.place, 0)
