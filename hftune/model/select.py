"""Selectors -> parameter names: head, backbone, stage.-1, stages[:2], norm, name:PATTERN, not X."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from hftune.core import LayerMap
from hftune.errors import ModelError

ROLES = ("head", "norm", "bias", "embed")
_ONE = re.compile(r"(?P<kind>stage|layer)\.(?P<number>-?\d+)")
_SOME = re.compile(r"(?P<kind>stage|layer)s\[(?P<start>-?\d*):(?P<stop>-?\d*)\]")
_FORMS = "head, norm, bias, embed, all, stage.N, stages[A:B], layer.N, layers[A:B], name:PATTERN"


def select(selectors: Sequence[str], layers: LayerMap, names: Iterable[str]) -> frozenset[str]:
    """Give the names, out of `names`, that the selectors pick together.

    'not X' takes away what X picks, wherever it stands in the list; a list of 'not' alone starts
    from all. Stages count the backbone's coarse parts (0 is the stem) without the head, layers all
    depths with the head as the last; negative numbers count from the end. A pattern with * and ?
    fits a parameter's name or a module's. Raises ModelError for a selector that fits nothing.
    """
    universe = tuple(names)
    wanted: set[str] = set()
    unwanted: set[str] = set()
    for selector in selectors:
        negated = selector.startswith("not ")
        found = _matches(selector.removeprefix("not ").strip(), layers, universe)
        (unwanted if negated else wanted).update(found)
    positive = [selector for selector in selectors if not selector.startswith("not ")]
    selected = (wanted if positive else set(universe)) - unwanted
    if not selected:
        raise ModelError("these selectors leave nothing", found=", ".join(selectors))
    return frozenset(selected)


def _matches(selector: str, layers: LayerMap, names: Sequence[str]) -> set[str]:
    if selector == "all":
        return set(names)
    if selector.startswith("name:"):
        return _by_pattern(selector.removeprefix("name:").strip(), names)
    if selector in ROLES:
        found = {name for name in names if layers.role[name] == selector}
    elif match := _ONE.fullmatch(selector) or _SOME.fullmatch(selector):
        found = _by_number(match, layers, names)
    else:
        raise _unknown(selector, names)
    if not found:
        present = sorted({layers.role[name] for name in names} & set(ROLES))
        raise ModelError(
            f"'{selector}' fits nothing in this model",
            allowed=f"{', '.join(present)}; {_ranges(layers)}",
            remedy="list the parts with: hftune inspect",
        )
    return found


def _by_number(match: re.Match[str], layers: LayerMap, names: Sequence[str]) -> set[str]:
    is_stage = match["kind"] == "stage"
    position: Mapping[str, int] = layers.stage if is_stage else layers.depth
    everything = range(layers.num_stages if is_stage else layers.num_depths)
    if "number" in match.groupdict():
        number = int(match["number"])
        picked = (
            {number % len(everything)} if -len(everything) <= number < len(everything) else set()
        )
    else:
        start, stop = (int(text) if text else None for text in (match["start"], match["stop"]))
        picked = set(everything[start:stop])
    return {name for name in names if position[name] in picked}


def _by_pattern(pattern: str, names: Sequence[str]) -> set[str]:
    found = {n for n in names if fnmatchcase(n, pattern) or fnmatchcase(n, f"{pattern}.*")}
    if not found:
        close = difflib.get_close_matches(pattern.replace("*", "0"), names, n=4, cutoff=0.4)
        raise ModelError(
            f"no parameter's name fits '{pattern}'",
            allowed=f"close names: {', '.join(close or list(names)[:4])}",
            remedy="list the names with: hftune inspect",
        )
    return found


def _unknown(selector: str, names: Sequence[str]) -> ModelError:
    words = difflib.get_close_matches(selector, (*ROLES, "all", "stage.0", "layer.0"), n=2)
    modules = sorted({name.partition(".")[0] for name in names})
    if selector.partition(".")[0] in modules:
        words = [f"name:{selector}"]
    return ModelError(
        f"'{selector}' is no selector",
        allowed=_FORMS + ", each also after 'not '",
        remedy=f"did you mean {' or '.join(words)}?" if words else None,
    )


def _ranges(layers: LayerMap) -> str:
    return f"stage.0 to stage.{layers.num_stages - 1}; layer.0 to layer.{layers.num_depths - 1}"
