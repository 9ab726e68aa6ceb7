"""A JSON Schema of recipe files, so that editors complete, explain and check them."""

from dataclasses import is_dataclass
from typing import Any

from hftune.recipe import schema
from hftune.recipe.check import ADAPTER
from hftune.recipe.help import setting_help
from hftune.recipe.schema import Component, Recipe, UnfreezeStep

_BASE = {
    "description": "Recipes to inherit, in order; paths are relative to this file.",
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
}
_COMPONENT = {
    "description": "A function by name, or a block with its name and options.",
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "object", "properties": {"name": {"type": "string", "minLength": 1}}},
    ],
}


def recipe_schema() -> dict[str, Any]:
    """Give the JSON Schema of one recipe file.

    Nothing at the top is required, since a base may set it; options of components are not
    described, since they belong to functions.
    """
    described: dict[str, Any] = ADAPTER.json_schema()
    blocks: dict[str, Any] = described.pop("$defs")
    for name, block in blocks.items():
        _explain(block, getattr(schema, name))
    blocks[Component.__name__] = _COMPONENT
    _explain(described, Recipe)
    described["properties"] = {"base": _BASE} | described["properties"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hftune recipe",
        **described,
        "$defs": blocks,
    }


def _explain(block: dict[str, Any], kind: type) -> None:
    """Add the help of each field, forbid unknown keys, drop what only repeats the key."""
    assert is_dataclass(kind)
    block.pop("title", None)
    if kind is not UnfreezeStep:
        block.pop("required", None)
    block["additionalProperties"] = False
    for field, described in block["properties"].items():
        described.pop("title", None)
        if isinstance(described.get("default"), dict):
            del described["default"]  # a block's own fields say theirs
        text = setting_help(kind, field)
        if text:
            described["description"] = text
