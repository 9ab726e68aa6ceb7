"""The rate of every group at every step, as numbers: of a plan, or of a recipe alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hftune.core import Model, Phase, RunPlan
from hftune.optim.phases import phase_spans
from hftune.optim.rate import phase_multiplier
from hftune.optim.scaling import peak_lr
from hftune.optim.schedules import Schedule, make_schedule
from hftune.recipe.schema import OptimRecipe, Recipe
from hftune.train.plan import plan_groups, plan_schedule
from hftune.units import parse_span

# Points along the run; more would not be seen in a picture.
_MOST_STEPS = 4000
_LONGEST_NOTE = 84


@dataclass(frozen=True, kw_only=True)
class RateLine:
    """The rate of one group at each of the chart's steps; NaN where nothing of it trains."""

    label: str
    rates: tuple[float, ...]

    @property
    def peak(self) -> float:
        """The highest rate of the run."""
        return max((rate for rate in self.rates if not math.isnan(rate)), default=0.0)


@dataclass(frozen=True, kw_only=True)
class RateChart:
    """Lines over `steps`, the highest first, each of a group or of a setting of the recipe."""

    name: str
    note: str
    total_steps: int
    steps_per_epoch: int
    phases: tuple[Phase, ...]
    steps: tuple[int, ...]
    lines: tuple[RateLine, ...]
    line_is: Literal["group", "setting"]


def chart_of_plan(plan: RunPlan, model: Model) -> RateChart:
    """Give the rates of a settled run. Groups that differ in weight decay alone are one line."""
    scales: dict[str, list[float]] = {}
    for number, phase in enumerate(plan.phases):
        for group in plan_groups(plan, model, phase):
            label = group.label.removesuffix(", no decay")
            by_phase = scales.setdefault(label, [math.nan] * len(plan.phases))
            by_phase[number] = group.scale
    steps = sampled_steps(plan.phases, plan.total_steps)
    rates = _peak_rates(plan.phases, steps, plan_schedule(plan), peak=plan.peak_lr)
    return RateChart(
        name=plan.recipe.run,
        note=_note(plan.recipe, plan.peak_lr),
        total_steps=plan.total_steps,
        steps_per_epoch=plan.steps_per_epoch,
        phases=plan.phases,
        steps=steps,
        lines=_lines(scales, rates),
        line_is="group",
    )


def chart_of_recipe(recipe: Recipe, *, steps_per_epoch: int) -> RateChart:
    """Give the rates as far as a recipe alone settles them: needs no data and no model.

    There is one line for `optim.lr` and one per line of `optim.rates`, each over the whole run, for
    which layers a phase trains is not known; with layer decay the first line is the head's. Raises
    PlanError for a schedule, a phase or a warm-up that the run is too short for.
    """
    length = parse_span(recipe.train.length).steps(steps_per_epoch=steps_per_epoch)
    total_steps = max(1, length)
    phases = phase_spans(recipe.unfreeze, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
    schedule = make_schedule(
        recipe.optim.schedule, total_steps=total_steps, steps_per_epoch=steps_per_epoch
    )
    peak = peak_lr(recipe.optim, batch_size=recipe.train.batch_size)
    scales = {
        label: [scale] * len(phases) for label, scale in _written_scales(recipe.optim).items()
    }
    steps = sampled_steps(phases, total_steps)
    return RateChart(
        name=recipe.run,
        note=_note(recipe, peak),
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        phases=phases,
        steps=steps,
        lines=_lines(scales, _peak_rates(phases, steps, schedule, peak=peak)),
        line_is="setting",
    )


def sampled_steps(phases: Sequence[Phase], total_steps: int) -> tuple[int, ...]:
    """Give every step of a short run; of a long one evenly many, and each phase's two ends."""
    if total_steps <= _MOST_STEPS:
        return tuple(range(total_steps))
    evenly = {step * total_steps // _MOST_STEPS for step in range(_MOST_STEPS)}
    ends = {step for phase in phases for step in (phase.start, phase.stop - 1)}
    return tuple(sorted(evenly | ends))


@dataclass(frozen=True, kw_only=True)
class _PeakRate:
    """The peak rate's value at one step, and the number of the phase that the step is in."""

    value: float
    phase: int


def _peak_rates(
    phases: Sequence[Phase], steps: Sequence[int], schedule: Schedule, *, peak: float
) -> list[_PeakRate]:
    """Give what the schedule and the phases make of the peak rate at each step."""
    return [
        _PeakRate(value=peak * schedule(step) * phase_multiplier(phase, step), phase=number)
        for number, phase in enumerate(phases)
        for step in steps
        if phase.start <= step < phase.stop
    ]


def _lines(
    scales: Mapping[str, Sequence[float]], rates: Sequence[_PeakRate]
) -> tuple[RateLine, ...]:
    lines = [
        RateLine(label=label, rates=tuple(rate.value * by_phase[rate.phase] for rate in rates))
        for label, by_phase in scales.items()
    ]
    return tuple(sorted(lines, key=lambda line: -line.peak))


def _written_scales(optim: OptimRecipe) -> dict[str, float]:
    """Give each selector's rate as a multiple of the peak, as it is written; without freezes."""
    scales = {"main" if optim.layer_decay in (None, 1) else "head": 1.0}
    for selector, rate in optim.rates.items():
        scale = float(rate.strip()[:-1]) if isinstance(rate, str) else rate / optim.lr
        if scale > 0:
            scales[selector] = scale
    return scales


def _note(recipe: Recipe, peak: float) -> str:
    """Name the peak rate, where the batch has moved it from where, and the schedule."""
    optim = recipe.optim
    parts = [f"peak {peak:.3g}"]
    if peak != optim.lr:
        parts[0] += f" ({optim.lr:g} for a batch of {optim.lr_batch_size})"
    options = ", ".join(f"{name} {value}" for name, value in optim.schedule.options.items())
    parts.append(optim.schedule.name + (f" ({options})" if options else ""))
    if optim.layer_decay not in (None, 1):
        parts.append(f"layer decay {optim.layer_decay:g}")
    text = "; ".join(parts)
    return text if len(text) <= _LONGEST_NOTE else text[: _LONGEST_NOTE - 3] + "..."
