"""Recipe -> mapping, YAML and digest; what differs between two recipes."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from io import StringIO
from typing import Any

from ruamel.yaml import YAML

from hftune.files import digest_json
from hftune.recipe.origins import leaves
from hftune.recipe.read import SettingPath, dotted
from hftune.recipe.schema import Component, Recipe

# Settings that may change when a run goes on: none of them moves a weight, apart from `length`,
# which says where the run ends.
FREE_SETTINGS = (
    "data.audit",
    "data.decoded_cache",
    "data.on_bad_image",
    "data.workers",
    "hub",
    "save",
    "track",
    "train.cache.disk",
    "train.cache.memory",
    "train.length",
    "train.time_budget",
)

_ABSOLUTE = re.compile(
    r"""(?mx) ^ (?P<key> \s* (?: -\ | [\w.\ "'-]+:\ )+ )   # list item or key
    (?P<quote> ['"]? ) (?: / | ~/ ) (?: [^\n]*/ )?             # the folders of this machine
    (?P<last> [^/\n'"]+ ) /? (?P=quote) $"""
)

Change = tuple[str, Any, Any]


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Give every setting as plain values, defaults included; components as name and options."""
    values = _plain(recipe)
    assert isinstance(values, dict)
    return values


def to_yaml(recipe: Recipe) -> str:
    """Give the whole recipe as YAML that reads back as the same recipe."""
    return values_to_yaml(to_dict(recipe))


def values_to_yaml(values: Mapping[str, Any]) -> str:
    """Give plain values as YAML, in their order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # typed as None
    yaml.width = 4096
    stream = StringIO()
    yaml.dump(dict(values), stream)
    return stream.getvalue()


def to_public_yaml(recipe: Recipe) -> str:
    """Give the recipe as YAML with paths of this machine cut to their last part."""
    return _ABSOLUTE.sub(r"\g<key>\g<quote>./\g<last>\g<quote>", to_yaml(recipe))


def digest(recipe: Recipe) -> str:
    """Give 64 hex digits that change with any setting."""
    return digest_json(to_dict(recipe))


def differences(old: Recipe, new: Recipe) -> list[Change]:
    """Give (setting, old value, new value) where they differ, in the order of the recipe.

    A value that one of them does not have is None.
    """
    before, after = dict(leaves(to_dict(old))), dict(leaves(to_dict(new)))
    return [
        (dotted(path), before.get(path), after.get(path))
        for path in {**before, **after}
        if not (path in before and path in after and _is_same(before[path], after[path]))
        and not (_has_parts(path, before) or _has_parts(path, after))
    ]


def _is_same(old: Any, new: Any) -> bool:
    """Compare as the digest does, for which 1, 1.0 and true are three values."""
    return json.dumps(old) == json.dumps(new)


def _has_parts(path: SettingPath, values: Collection[SettingPath]) -> bool:
    """Say whether what is empty or null on one side is a block on the other, reported in parts."""
    return any(len(other) > len(path) and other[: len(path)] == path for other in values)


def changed_settings(old: Recipe, new: Recipe) -> list[Change]:
    """Give the differences that forbid a run to go on: those outside `FREE_SETTINGS`."""
    return [change for change in differences(old, new) if not _is_free(change[0])]


def _is_free(setting: str) -> bool:
    return any(f"{setting}.".startswith(f"{free}.") for free in FREE_SETTINGS)


def _plain(value: Any) -> Any:
    if isinstance(value, Component):
        return {"name": value.name} | {key: _plain(item) for key, item in value.options.items()}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
