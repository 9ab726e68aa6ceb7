"""docs/recipes.md: its table holds every setting, and its examples are sound."""

import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest

from hftune.recipe import load_recipe
from hftune.recipe.help import field_help
from hftune.recipe.schema import Component, Recipe
from hftune.recipe.types import block_of, field_hints, item_of

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"


def rows(kind: type, path: str = "") -> Iterator[str]:
    """Give a line of the table per setting: name, default, help."""
    for field in fields(kind):  # type: ignore[arg-type]  # called with dataclasses only
        name = f"{path}{field.name}"
        hint = field_hints(kind)[field.name]
        block, item = block_of(hint), item_of(hint)
        if block is not None and block is not Component:
            yield from rows(block, f"{name}.")
        elif item is not None and block_of(item) not in (None, Component):
            yield from rows(item, f"{name}[].")
        else:
            yield f"| `{name}` | {_default(field)} | {field_help()[kind.__name__, field.name]} |"


def _default(field: "Field[Any]") -> str:
    value = field.default
    if field.default_factory is not MISSING:
        value = field.default_factory()
    if value is MISSING:
        return "required"
    if isinstance(value, Component):
        options = "".join(f", {key}: {option}" for key, option in value.options.items())
        return f"`{{name: {value.name}{options}}}`" if options else f"`{value.name}`"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


@pytest.mark.parametrize("row", list(rows(Recipe)), ids=lambda row: row.split("`")[1])
def test_the_table_holds_each_setting_with_its_default_and_help(row: str) -> None:
    assert row in PAGE.read_text(encoding="utf-8").splitlines()


def test_the_table_holds_nothing_else() -> None:
    found = re.findall(
        r"^\| `[a-z0-9_.\[\]]+` \|.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert found == list(rows(Recipe))


def test_the_whole_example_is_a_sound_recipe(tmp_path: Path) -> None:
    (example,) = [
        block
        for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        if block.startswith("base: elpv-lite0")
    ]
    path = tmp_path / "mine.yaml"
    path.write_text(example)
    assert load_recipe(path).run == "cells-small-steps"
