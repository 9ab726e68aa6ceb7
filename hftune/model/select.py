"""Selectors -> parameter names: head, backbone, stage.-1, stages[:2], norm, name:PATTERN, not X."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from hftune.core import LayerMap
from hftune.errors import ModelError
from hftune.recipe.selectors import WORDS, Selector, parse_selector


def select(selectors: Sequence[str], layers: LayerMap, names: Iterable[str]) -> frozenset[str]:
    """Give the names, out of `names`, that the selectors pick together.

    'not X' takes away what X picks, wherever it stands in the list; a list of 'not' alone starts
    from all. `backbone` is all but the head. Stages count the backbone's coarse parts (0 is the
    stem) without the head, layers all depths with the head as the last; negative numbers count from
    the end, ranges are Python's. A pattern with * and ? fits a parameter's name or a module's.
    Raises ModelError for what is no selector or fits nothing, with what exists.
    """
    universe = tuple(names)
    parsed = [parse_selector(text) for text in selectors]
    wanted: set[str] = set()
    unwanted: set[str] = set()
    for selector in parsed:
        found = _matches(selector, layers, universe)
        (unwanted if selector.negated else wanted).update(found)
    only_negated = all(selector.negated for selector in parsed)
    selected = (set(universe) if only_negated else wanted) - unwanted
    if not selected:
        raise ModelError("these selectors leave nothing", found=", ".join(selectors))
    return frozenset(selected)


def _matches(selector: Selector, layers: LayerMap, names: Sequence[str]) -> set[str]:
    if selector.kind == "name":
        return _by_pattern(str(selector.part), names)
    if selector.kind == "word":
        found = _by_word(str(selector.part), layers, names)
    else:
        found = _by_number(selector, layers, names)
    if not found:
        words = [word for word in WORDS if _by_word(word, layers, names)]
        raise ModelError(
            f"'{selector.text}' fits nothing in this model",
            allowed=f"{', '.join(words)}; stage.0 to stage.{layers.num_stages - 1}; "
            f"layer.0 to layer.{layers.num_depths - 1}",
            remedy="list the parts with: hftune inspect",
        )
    return found


def _by_word(word: str, layers: LayerMap, names: Sequence[str]) -> set[str]:
    if word == "all":
        return set(names)
    if word == "backbone":
        return {name for name in names if layers.role[name] != "head"}
    return {name for name in names if layers.role[name] == word}


def _by_number(selector: Selector, layers: LayerMap, names: Sequence[str]) -> set[str]:
    is_stage = selector.kind == "stage"
    position = layers.stage if is_stage else layers.depth
    everything = range(layers.num_stages if is_stage else layers.num_depths)
    part = selector.part
    if isinstance(part, slice):
        picked = everything[part]
    else:
        number = int(part)
        picked = everything[number : number + 1 or None]
    return {name for name in names if position[name] in picked}


def _by_pattern(pattern: str, names: Sequence[str]) -> set[str]:
    found = {n for n in names if fnmatchcase(n, pattern) or fnmatchcase(n, f"{pattern}.*")}
    if not found:
        close = difflib.get_close_matches(pattern.replace("*", "0"), names, n=4, cutoff=0.4)
        raise ModelError(
            f"no parameter's name fits '{pattern}'",
            allowed=f"close names: {', '.join(close or list(names)[:4])}",
            remedy="list the names with: hftune inspect RECIPE --names",
        )
    return found
