"""Which rows of the base's head a new head takes over, and what that is called in a line."""

from __future__ import annotations

from dataclasses import dataclass

from hftune.core import HeadStart, LabelSpace
from hftune.model.class_names import base_rows, class_names
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

    What gives a number and what tells classes apart take nothing over from each other.
    """
    # A file that the recipe names has no class names beside it.
    if recipe.head_rows == "new" or recipe.weights is not None:
        return None
    if labels.numeric != (config.problem_type == "regression"):
        return None
    base, rows = class_names(config), base_rows(config, labels.names)
    kept = {n: base[row] for n, row in zip(labels.names, rows, strict=True) if row is not None}
    start = HeadStart(kept=kept, num_base=len(base))
    return KeptRows(rows=rows, start=start) if kept else None


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
