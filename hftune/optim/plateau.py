"""The schedule with memory: the rate falls when a metric no longer gains."""

import math
from dataclasses import dataclass
from typing import Literal

from hftune.components import check_options
from hftune.core import Progress
from hftune.optim.schedule_shapes import plateau
from hftune.optim.schedules import PLATEAU
from hftune.recipe.schema import Component


@dataclass(frozen=True, kw_only=True)
class PlateauRule:
    """When to multiply the rate by `factor`, and how small it may become.

    `metric` is None for the one that picks the best weights. `patience` and `cooldown` count
    evaluations; `floor` is a multiple of the peak rate.
    """

    metric: str | None
    factor: float
    patience: int
    threshold: float
    threshold_mode: Literal["rel", "abs"]
    cooldown: int
    floor: float


def plateau_rule(component: Component) -> PlateauRule | None:
    """Give the rule of a plateau schedule, None for any other. Raises ComponentError."""
    if component.name != PLATEAU:
        return None
    given = {name: value for name, value in component.options.items() if name != "warmup"}
    checked = check_options(plateau, given, where=f"schedule '{PLATEAU}'")
    return PlateauRule(**((plateau.__kwdefaults__ or {}) | checked))


def note_evaluation(
    rule: PlateauRule, progress: Progress, value: float, *, higher_is_better: bool
) -> None:
    """Reduce the rate after more than `patience` evaluations in a row without a gain.

    A gain is more than `threshold` beyond the best value: a share of its size (rel) or as it is
    (abs). After a reduction, `cooldown` evaluations are not counted. The same as
    torch.optim.lr_scheduler.ReduceLROnPlateau with eps=0, except for a best value below zero,
    where torch's relative threshold lets a loss in value pass as a gain. A value that is not a
    number is no gain. Side effect: changes the plateau fields of `progress`.
    """
    if _is_gain(rule, progress.plateau_best, value, higher_is_better=higher_is_better):
        progress.plateau_best = value
        progress.plateau_waits = 0
    else:
        progress.plateau_waits += 1
    if progress.plateau_rests > 0:
        progress.plateau_rests -= 1
        progress.plateau_waits = 0
    if progress.plateau_waits > rule.patience:
        progress.plateau_factor = max(progress.plateau_factor * rule.factor, rule.floor)
        progress.plateau_rests = rule.cooldown
        progress.plateau_waits = 0


def _is_gain(
    rule: PlateauRule, best: float | None, value: float, *, higher_is_better: bool
) -> bool:
    sign = 1.0 if higher_is_better else -1.0
    if best is None:
        return sign * value > -math.inf
    margin = rule.threshold * abs(best) if rule.threshold_mode == "rel" else rule.threshold
    return sign * value > sign * best + margin
