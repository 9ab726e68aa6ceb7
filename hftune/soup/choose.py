"""Which ingredients go into a soup: decided by their numbers alone, without torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from hftune.metrics import higher_is_better, is_better

Method = Literal["greedy", "uniform"]
# Mixes the named ingredients and gives the mixture's value on validation.
Taste = Callable[[tuple[str, ...]], float]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One candidate: its `members`, its value, and that of what it had to hold its own against."""

    members: tuple[str, ...]
    value: float
    against: float
    taken: bool


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The members of the soup and its value; one member where no mixture was as good."""

    members: tuple[str, ...]
    value: float
    decisions: tuple[Decision, ...]


def rank(singles: Mapping[str, float], *, metric: str) -> tuple[str, ...]:
    """Give the ingredients, the best first; equal ones stay in their order."""
    higher = higher_is_better(metric)
    return tuple(sorted(singles, key=lambda name: singles[name], reverse=higher))


def choose_greedily(singles: Mapping[str, float], taste: Taste, *, metric: str) -> Choice:
    """Add one ingredient after the other, best first, and keep each that does not make it worse.

    Wortsman et al. 2022, Recipe 1 ("GreedySoup"). `singles` are values on validation by name.
    """
    first, *others = rank(singles, metric=metric)
    members: tuple[str, ...] = (first,)
    value = singles[first]
    decisions = []
    for name in others:
        decision = _try((*members, name), taste, against=value, metric=metric)
        decisions.append(decision)
        if decision.taken:
            members, value = decision.members, decision.value
    return Choice(members=members, value=value, decisions=tuple(decisions))


def choose_all(singles: Mapping[str, float], taste: Taste, *, metric: str) -> Choice:
    """Mix all of them; where that is worse than the best single one, give the latter."""
    ranked = rank(singles, metric=metric)
    best = singles[ranked[0]]
    decision = _try(ranked, taste, against=best, metric=metric)
    if decision.taken:
        return Choice(members=ranked, value=decision.value, decisions=(decision,))
    return Choice(members=ranked[:1], value=best, decisions=(decision,))


def _try(members: tuple[str, ...], taste: Taste, *, against: float, metric: str) -> Decision:
    value = taste(members)
    taken = not is_better(against, value, metric=metric)
    return Decision(members=members, value=value, against=against, taken=taken)
