"""The JSON Schema: it explains every setting and accepts what `check` accepts."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest

from hftune.recipe import load_recipe, schema
from hftune.recipe.help import field_help
from hftune.recipe.json_schema import recipe_schema
from hftune.recipe.read import plain, read_file
from hftune.recipe.shipped import list_shipped, shipped_folder
from hftune.recipe.show import to_dict

DESCRIBED = recipe_schema()
_TYPES = {
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}
BLOCKS = [kind for name, kind in vars(schema).items() if name.endswith(("Recipe", "UnfreezeStep"))]


@pytest.mark.parametrize("name", [recipe.name for recipe in list_shipped()])
def test_the_schema_accepts_a_whole_shipped_recipe(name: str) -> None:
    assert faults(to_dict(load_recipe(name)), DESCRIBED) == []


@pytest.mark.parametrize(
    "path", sorted(shipped_folder().glob("*/*.yaml")), ids=lambda path: path.stem
)
def test_the_schema_accepts_each_shipped_file_as_it_stands(path: Any) -> None:
    assert faults(plain(read_file(path)), DESCRIBED) == []


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"modl": {}}, "modl"),
        ({"model": {"repos": "x"}}, "model.repos"),
        ({"optim": {"lr": 0}}, "optim.lr"),
        ({"optim": {"lr": "fast"}}, "optim.lr"),
        ({"train": {"precision": "fp8"}}, "train.precision"),
        ({"data": {"augment": ["flip", 3]}}, "data.augment.1"),
        ({"unfreeze": [{"at": "0%"}]}, "unfreeze.0.train"),
        ({"base": [1]}, "base"),
    ],
)
def test_the_schema_refuses_what_check_refuses(values: Mapping[str, Any], place: str) -> None:
    assert faults(values, DESCRIBED) == [place]


@pytest.mark.parametrize("kind", BLOCKS, ids=lambda kind: kind.__name__)
def test_every_setting_has_its_help(kind: type) -> None:
    for field in fields(kind):
        assert field_help()[kind.__name__, field.name], field.name


def test_a_text_with_a_form_says_which() -> None:
    length = DESCRIBED["$defs"]["TrainRecipe"]["properties"]["length"]
    assert length["description"] == (
        "Epochs or steps. Give a number of epochs or steps above zero, "
        "such as '10 epochs' or '500 steps'."
    )
    assert length["default"] == "10 epochs"


def faults(value: Any, rule: Mapping[str, Any], place: str = "") -> list[str]:
    """Give the places where a value breaks a schema: the few keywords that ours uses."""
    if "$ref" in rule:
        return faults(value, DESCRIBED["$defs"][rule["$ref"].rpartition("/")[2]], place)
    if "allOf" in rule:  # as older pydantic writes a reference with something beside it
        return [bad for one in rule["allOf"] for bad in faults(value, one, place)]
    if "anyOf" in rule:
        attempts = [faults(value, one, place) for one in rule["anyOf"]]
        return [] if [] in attempts else [place]
    if not _has_type(value, rule) or not _in_range(value, rule):
        return [place]
    if isinstance(value, list):
        rules = rule.get("prefixItems", [rule.get("items", {})] * len(value))
        pairs = enumerate(zip(value, rules, strict=True))
        return [bad for i, (item, one) in pairs for bad in faults(item, one, _join(place, i))]
    return _block_faults(value, rule, place) if isinstance(value, dict) else []


def _has_type(value: Any, rule: Mapping[str, Any]) -> bool:
    wanted = rule.get("type")
    if wanted is None:
        return True
    if isinstance(value, bool) and wanted != "boolean":
        return False
    return isinstance(value, _TYPES[wanted])


def _in_range(value: Any, rule: Mapping[str, Any]) -> bool:
    checks = {
        "enum": lambda limit: value in limit,
        "minimum": lambda limit: value >= limit,
        "exclusiveMinimum": lambda limit: value > limit,
        "maximum": lambda limit: value <= limit,
        "exclusiveMaximum": lambda limit: value < limit,
        "minLength": lambda limit: len(value) >= limit,
        "minItems": lambda limit: len(value) >= limit,
        "maxItems": lambda limit: len(value) <= limit,
    }
    return all(check(rule[name]) for name, check in checks.items() if name in rule)


def _block_faults(value: Mapping[str, Any], rule: Mapping[str, Any], place: str) -> list[str]:
    known = rule.get("properties", {})
    extra = rule.get("additionalProperties", True)
    found = [_join(place, key) for key in rule.get("required", ()) if key not in value]
    for key, item in value.items():
        if key in known:
            found += faults(item, known[key], _join(place, key))
        elif extra is False:
            found.append(_join(place, key))
        elif isinstance(extra, Mapping):
            found += faults(item, extra, _join(place, key))
    return found


def _join(place: str, part: object) -> str:
    return f"{place}.{part}" if place else str(part)
