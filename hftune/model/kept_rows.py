"""Which rows of the base's head a new head takes over, and what that is called in a line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hftune.core import HeadStart, LabelSpace
from hftune.errors import ModelError
from hftune.model.class_names import base_rows, class_names, synsets
from hftune.model.hub_config import HubConfig
from hftune.recipe.schema import ModelRecipe

_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class KeptRows:
    """The row of the base's head for each class, None for the mean of all, and what that makes."""

    rows: tuple[int | None, ...]
    start: HeadStart


def find_kept(recipe: ModelRecipe, config: HubConfig, labels: LabelSpace) -> KeptRows | None:
    """Find the rows to keep; None where the head is to be new, or none of its classes is known.

    What gives a number and what tells classes apart take nothing over from each other. Raises
    ModelError where the recipe gives a name that the data or the base does not have.
    """
    if recipe.head_rows == "new":
        return None
    # A file that the recipe names has no class names beside it.
    base = class_names(config) if recipe.weights is None else ()
    if labels.numeric != (config.problem_type == "regression"):
        base = ()
    stated = recipe.base_names
    asked = [stated.get(name, name) for name in labels.names]
    exact = {name: base.index(old) for name, old in stated.items() if base.count(old) == 1}
    found = zip(labels.names, base_rows(base, asked, synsets=synsets(config)), strict=True)
    rows = tuple(exact.get(name, row) for name, row in found)
    _check_names(stated, labels, base=base, rows=rows)
    kept = {n: base[row] for n, row in zip(labels.names, rows, strict=True) if row is not None}
    start = HeadStart(kept=kept, num_base=len(base))
    return KeptRows(rows=rows, start=start) if kept else None


def _check_names(
    stated: Mapping[str, str],
    labels: LabelSpace,
    *,
    base: Sequence[str],
    rows: Sequence[int | None],
) -> None:
    """Raise ModelError for a name in model.base_names that nobody has."""
    found = dict(zip(labels.names, rows, strict=True))
    for name, old in stated.items():
        if name not in found or found[name] is None:
            whose, wanted, known = (
                ("base", old, base) if name in found else ("data", name, labels.names)
            )
            close = difflib.get_close_matches(wanted, known, n=4, cutoff=0.5)
            raise ModelError(
                f"the {whose} has no one class of this name",
                found=repr(wanted),
                allowed=", ".join(close or known[:_SHOWN]) or "none: the base names no classes",
                where=f"model.base_names.{name}",
            )


def describe_kept(kept: KeptRows | None) -> str:
    """Say what became of a head."""
    if kept is None:
        return "new, for it keeps no class of the base"
    rows, names = kept.rows, kept.start.kept
    if None not in rows and len(rows) == kept.start.num_base:
        moved = rows != tuple(range(len(rows)))
        return f"kept for the same classes{', its rows reordered by name' if moved else ''}"
    same = [new if new == old else f"{new} from '{old}'" for new, old in names.items()]
    shown = ", ".join(same[:_SHOWN]) + (", ..." if len(same) > _SHOWN else "")
    others = "; the others start from the mean of its rows" if None in rows else ""
    return f"the base's for {len(same)} of {len(rows)} classes ({shown}){others}"
