"""What is allowed and what is wrong, as sentences: from an annotation and what checking found."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from annotated_types import DocInfo, Ge, Gt, Interval, Le, Lt, MinLen, Predicate

from hftune.recipe.read import short
from hftune.recipe.schema import Component
from hftune.recipe.types import bare, limits, members

_TYPES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    NoneType: "null",
    Any: "any value",
    Component: "a name, or a block with a name and options",
}
_RANGES = {
    "greater_than": ("small", "above", "gt"),
    "greater_than_equal": ("small", "at least", "ge"),
    "less_than": ("large", "below", "lt"),
    "less_than_equal": ("large", "at most", "le"),
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One complaint of the checking library: its kind and the numbers that go with it."""

    kind: str
    facts: Mapping[str, Any]


def sentence(faults: Sequence[Fault], value: object, hint: Any, subject: str) -> str:
    """Say what is wrong with the `value` of `subject` and what its annotation allows."""
    kinds = {fault.kind for fault in faults}
    if kinds == {"missing"}:
        return f"missing; give {describe(hint)}"
    if len(faults) == 1 and faults[0].kind in _RANGES:
        size, relation, fact = _RANGES[faults[0].kind]
        limit = faults[0].facts[fact]
        return f"{short(value)} is too {size}; {subject} must be {relation} {limit:g}"
    if value is None:
        return f"this is empty; give {describe(hint)}, or remove the line"
    if isinstance(value, int | float) and _is_free_text(hint):
        return f"{short(value)} is read as a number here; for text, put it in quotes"
    close = did_you_mean(str(value), choices(hint))
    return f"{short(value)} is not possible; give {describe(hint)}{close}"


def describe(hint: Any) -> str:
    """Say what an annotation allows, as words that follow 'give'."""
    alternatives = members(hint)
    if len(alternatives) > 1:
        words = [describe(member) for member in alternatives]
        return f"{', '.join(words[:-1])}, or {words[-1]}"
    for limit in limits(hint):
        if isinstance(limit, DocInfo):
            return limit.documentation
    words = _describe_limits(limits(hint))
    return _describe_type(bare(hint), f" that is {' and '.join(words)}" if words else "")


def choices(hint: Any) -> list[str]:
    """Give the texts that a closed set allows; empty for anything else."""
    literals = [member for member in map(bare, members(hint)) if get_origin(member) is Literal]
    return [str(choice) for literal in literals for choice in get_args(literal)]


def did_you_mean(text: str, names: Iterable[str]) -> str:
    """Give "; did you mean 'x'?" for a close match, or nothing."""
    close = get_close_matches(text, list(names), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def listed(names: Iterable[str]) -> str:
    """Give names as 'a', 'b', 'c'."""
    return ", ".join(f"'{name}'" for name in names)


def _describe_type(kind: Any, limit: str) -> str:
    if kind in _TYPES:
        return _TYPES[kind] + limit
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ("one of " if len(inner) > 1 else "") + listed(map(str, inner))
    if origin is tuple and inner[1:] != (...,):
        each = f"each {describe(inner[0])}" if len(set(inner)) == 1 else _in_order(inner)
        return f"a list of {len(inner)} ({each})"
    if origin is not None and issubclass(origin, tuple | Sequence):
        return f"a list{limit} (each entry {describe(inner[0])})"
    if is_dataclass(kind) or (isinstance(origin or kind, type) and _is_mapping(origin or kind)):
        return "a block of settings"
    return str(getattr(kind, "__name__", kind))


def _in_order(hints: Sequence[Any]) -> str:
    return "in this order: " + ", then ".join(describe(hint) for hint in hints)


def _is_mapping(kind: type) -> bool:
    return issubclass(kind, Mapping)


def _describe_limits(found: Sequence[Any]) -> list[str]:
    words: list[str] = []
    for limit in _spread(found):
        if isinstance(limit, Ge):
            words.append(f"at least {limit.ge:g}")
        elif isinstance(limit, Gt):
            words.append(f"above {limit.gt:g}")
        elif isinstance(limit, Le):
            words.append(f"at most {limit.le:g}")
        elif isinstance(limit, Lt):
            words.append(f"below {limit.lt:g}")
        elif isinstance(limit, MinLen):
            words.append("not empty")
    return words


def _spread(found: Sequence[Any]) -> Iterable[Any]:
    """Give limits one by one: an Interval holds several."""
    for limit in found:
        if isinstance(limit, Interval):
            yield from limit
        else:
            yield limit


def _is_free_text(hint: Any) -> bool:
    """Say whether any text would do, so that quotes alone are the remedy."""
    kinds = {bare(member) for member in members(hint)}
    held = [limit for member in members(hint) for limit in limits(member)]
    return str in kinds and not kinds & {int, float} and not any(map(_is_predicate, held))


def _is_predicate(limit: object) -> bool:
    return isinstance(limit, Predicate)
