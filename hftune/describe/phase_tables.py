"""Phases as tables: what trains in each, in which groups, at which rates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hftune.core import Phase
from hftune.describe.description import Cell, Table
from hftune.describe.layers import Layers, parameter_cells, share_text
from hftune.optim.groups import ParamGroup


@dataclass(frozen=True, kw_only=True)
class PhaseGroups:
    """A phase with its parameter groups, and its place and warm-up as texts."""

    at: str
    warmup: str
    phase: Phase
    groups: tuple[ParamGroup, ...]

    def by_name(self) -> dict[str, ParamGroup]:
        """Give the group of each parameter that trains."""
        return {name: group for group in self.groups for name in group.names}


def phase_table(phases: Sequence[PhaseGroups], layers: Layers, *, place: str) -> Table:
    """Give one row per phase; `place` is the title of the column that says where it is."""
    sizes: Mapping[str, int] = layers.sizes
    total = sum(sizes.values())
    rows = []
    for part in phases:
        number = sum(sizes[name] for name in part.phase.trainable)
        counts = (len(part.phase.trainable), number, share_text(number, total))
        rows.append((part.at, part.phase.label, *counts, part.phase.lr_factor, part.warmup))
    columns = (place, "trains", "tensors", "parameters", "share", "rate factor", "warm-up")
    return Table(title="phases", columns=columns, rows=tuple(rows))


def group_table(phases: Sequence[PhaseGroups], layers: Layers, *, peak: float, place: str) -> Table:
    """Give one row per phase and parameter group, with its peak rate in that phase."""
    sizes: Mapping[str, int] = layers.sizes
    rows = tuple(
        (
            part.at,
            group.label,
            len(group.names),
            sum(sizes[name] for name in group.names),
            _rate(group, part.phase, peak=peak),
            group.weight_decay,
        )
        for part in phases
        for group in part.groups
    )
    columns = (place, "group", "tensors", "parameters", "lr", "weight decay")
    return Table(title="groups", columns=columns, rows=rows)


def phase_parameter_table(phases: Sequence[PhaseGroups], layers: Layers, *, peak: float) -> Table:
    """Give one row per parameter: whether it trains and its rate in each phase, and its decay."""
    groups = [part.by_name() for part in phases]
    rows = []
    for name, cells in parameter_cells(layers).items():
        row: list[Cell] = [*cells]
        for part, group in zip(phases, groups, strict=True):
            trains = name in group
            rate = _rate(group[name], part.phase, peak=peak) if trains else None
            row += ["yes" if trains else "no", rate]
        row.append(next((group[name].weight_decay for group in groups if name in group), None))
        rows.append(tuple(row))
    columns = ["name", "shape", "numbers", "stage", "layer", "role"]
    for part in phases:
        columns += [f"trains from {part.at}", f"lr from {part.at}"]
    return Table(title="parameters", columns=(*columns, "weight decay"), rows=tuple(rows))


def _rate(group: ParamGroup, phase: Phase, *, peak: float) -> float:
    return peak * group.scale * phase.lr_factor
