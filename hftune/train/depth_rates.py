"""Which rate every depth of a model trains at, phase by phase, as plan.json keeps it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from hftune.core import Model
from hftune.errors import RunFolderError
from hftune.optim.groups import ParamGroup
from hftune.train.json_record import build_record, read_mapping
from hftune.train.run_facts import PLAN_FILE


@dataclass(frozen=True, kw_only=True)
class DepthRate:
    """One depth in one phase: `scale` is its highest rate over the peak rate, 0 where it is frozen.

    `trainable` of its `parameters` move.
    """

    depth: int
    parameters: int
    trainable: int
    scale: float


@dataclass(frozen=True, kw_only=True)
class PhaseRates:
    """The depths, from the input to the head, over the steps `start` to `stop` (exclusive)."""

    start: int
    stop: int
    depths: tuple[DepthRate, ...]


def rates_by_depth(groups: Iterable[ParamGroup], model: Model) -> list[dict[str, object]]:
    """Give every depth of a model under these groups, as JSON values."""
    sizes = {name: value.numel() for name, value in model.module.named_parameters()}
    scales = {name: group.scale for group in groups for name in group.names}
    names: dict[int, list[str]] = {}
    for name in sizes:
        names.setdefault(model.layers.depth[name], []).append(name)
    rates = [
        DepthRate(
            depth=depth,
            parameters=sum(sizes[name] for name in there),
            trainable=sum(sizes[name] for name in there if name in scales),
            scale=max(scales.get(name, 0.0) for name in there),
        )
        for depth, there in sorted(names.items())
    ]
    return [asdict(rate) for rate in rates]


def read_phase_rates(run: Path) -> tuple[PhaseRates, ...]:
    """Read what a run's plan says of depths; nothing where it has no plan, or an earlier one.

    Raises RunFolderError for a damaged file.
    """
    path = run / PLAN_FILE
    if not path.is_file():
        return ()
    phases = read_mapping(path).get("phases")
    if not isinstance(phases, list) or not all(isinstance(phase, dict) for phase in phases):
        raise RunFolderError("this plan has no list of phases", where=str(path))
    keys = ("start", "stop", "depths")
    return tuple(
        build_record(PhaseRates, {key: phase.get(key) for key in keys}, str(path))
        for phase in phases
        if "depths" in phase
    )
