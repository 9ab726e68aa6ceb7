"""The unfreezing schedule: which parameters train from which step on, and at what share of rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hftune.core import LayerMap, Phase
from hftune.errors import ModelError, PlanError
from hftune.model.select import select
from hftune.optim.frozen import frozen_by, settings_of
from hftune.optim.layer_rates import picked_by_rates, rates_by_name
from hftune.recipe.schema import Recipe, UnfreezeStep
from hftune.units import parse_span


@dataclass(frozen=True, kw_only=True)
class _Parameters:
    """All parameters of a model, where they live, and which are frozen for good by what setting."""

    names: Sequence[str]
    layers: LayerMap
    frozen: Mapping[str, str]


def make_phases(
    recipe: Recipe,
    layers: LayerMap,
    names: Sequence[str],
    *,
    total_steps: int,
    steps_per_epoch: int,
) -> tuple[Phase, ...]:
    """Give phases that follow one another from step 0 to `total_steps`.

    `names` are all parameters of the model. What `freeze` names, and what has a zero rate, trains
    in no phase. Raises PlanError where a phase would train nothing, a part is frozen and named to
    train or given a rate, entries are out of order or past the end, or a warm-up outlasts its
    phase; ModelError where a selector fits nothing.
    """
    spans = phase_spans(recipe.unfreeze, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
    phases = []
    for span, trainable in zip(spans, trainable_sets(recipe, layers, names), strict=True):
        shallowest = min(layers.depth[name] for name in trainable)
        phases.append(replace(span, trainable=trainable, frozen_prefix=shallowest or None))
    return tuple(phases)


def trainable_sets(
    recipe: Recipe, layers: LayerMap, names: Sequence[str]
) -> tuple[frozenset[str], ...]:
    """Give what each entry of `unfreeze` trains, without regard to when.

    Raises PlanError and ModelError as `make_phases` does for what is frozen, rated and selected.
    """
    parameters = _Parameters(names=names, layers=layers, frozen=frozen_by(recipe, layers, names))
    sets = tuple(
        _trainable(entry, parameters, where=f"unfreeze[{position}].train")
        for position, entry in enumerate(recipe.unfreeze)
    )
    _check_rates(recipe, parameters, ever=frozenset[str]().union(*sets))
    return sets


def phase_spans(
    unfreeze: Sequence[UnfreezeStep], *, total_steps: int, steps_per_epoch: int
) -> tuple[Phase, ...]:
    """Give the phases as far as they can be known without a model: nothing is named to train.

    Raises PlanError for entries out of order or past the end, and a warm-up that outlasts its
    phase.
    """
    starts = [_steps(entry.at, total_steps, steps_per_epoch) for entry in unfreeze]
    _check_starts(unfreeze, starts, total_steps=total_steps)
    phases = []
    for position, (entry, start) in enumerate(zip(unfreeze, starts, strict=True)):
        stop = starts[position + 1] if position + 1 < len(unfreeze) else total_steps
        warmup = _steps(entry.warmup, total_steps, steps_per_epoch)
        _check_warmup(entry, position, warmup=warmup, length=stop - start)
        phases.append(
            Phase(
                start=start,
                stop=stop,
                trainable=frozenset(),
                label=", ".join(entry.train),
                lr_factor=entry.lr_factor,
                warmup_steps=warmup,
            )
        )
    return tuple(phases)


def _steps(text: str, total_steps: int, steps_per_epoch: int) -> int:
    return parse_span(text).steps(steps_per_epoch=steps_per_epoch, total_steps=total_steps)


def _trainable(entry: UnfreezeStep, parameters: _Parameters, *, where: str) -> frozenset[str]:
    """Give what an entry trains; each part that it names must be able to."""
    layers, names, frozen = parameters.layers, parameters.names, parameters.frozen
    try:
        selected = select(entry.train, layers, names)
        positive = [selector for selector in entry.train if not selector.startswith("not ")]
        picked = {selector: select((selector,), layers, names) for selector in positive}
    except ModelError as error:
        error.where = where
        raise
    for label, part in (*picked.items(), (", ".join(entry.train), selected)):
        if part <= frozen.keys():
            raise PlanError(
                f"'{label}' is to train and is frozen for good",
                found=_all_of(part, f"frozen by {settings_of(frozen, part)}"),
                where=where,
                remedy="take it out of one of the two settings",
            )
    return selected - frozen.keys()


def _check_rates(recipe: Recipe, parameters: _Parameters, *, ever: frozenset[str]) -> None:
    """Refuse a rate that no step would use: of what never trains, or taken over by later lines."""
    layers, names, frozen = parameters.layers, parameters.names, parameters.frozen
    winners = rates_by_name(recipe.optim, layers, names)
    for rate, picked in picked_by_rates(recipe.optim, layers, names).items():
        later = {winners[name].selector for name in picked} - {rate.selector}
        if rate.value > 0 and not picked & ever:
            raise PlanError(
                f"'{rate.selector}' never trains and is given a rate",
                found=_why_it_rests(picked, frozen),
                where=rate.setting,
                remedy="take it out of one of the two settings, or let it train",
            )
        if not any(winners[name] == rate for name in picked):
            raise PlanError(
                f"the rate of '{rate.selector}' is never used",
                found=f"later lines of optim.rates pick all of its parameters: "
                f"{', '.join(sorted(later))}",
                where=rate.setting,
                remedy=f"put '{rate.selector}' after them, for the last line that fits wins",
            )


def _why_it_rests(picked: frozenset[str], frozen: Mapping[str, str]) -> str:
    """Say what keeps parameters that train in no phase as they are."""
    reasons = []
    if picked & frozen.keys():
        reasons.append(f"frozen by {settings_of(frozen, picked & frozen.keys())}")
    if picked - frozen.keys():
        reasons.append("named by no entry of unfreeze")
    return _all_of(picked, " or ".join(reasons))


def _all_of(picked: frozenset[str], fate: str) -> str:
    return f"all {len(picked)} of its parameters are {fate}"


def _check_warmup(entry: UnfreezeStep, position: int, *, warmup: int, length: int) -> None:
    if warmup and warmup >= length:
        raise PlanError(
            "the warm-up of a phase leaves no step at its full rate",
            found=f"'{entry.warmup}' is {warmup} steps; the phase has {length}",
            allowed=f"up to {length - 1} steps",
            where=f"unfreeze[{position}].warmup",
        )


def _check_starts(
    unfreeze: Sequence[UnfreezeStep], starts: Sequence[int], *, total_steps: int
) -> None:
    if not starts or starts[0] != 0:
        found = f"the first entry is at '{unfreeze[0].at}'" if starts else "an empty list"
        raise PlanError(
            "nothing would train at the start",
            found=found,
            allowed="a first entry with at: 0%",
            where="unfreeze",
        )
    for position in range(1, len(starts)):
        here, before = starts[position], starts[position - 1]
        if here <= before:
            raise PlanError(
                "an unfreezing entry does not come after the one before it",
                found=f"'{unfreeze[position].at}' is step {here}, "
                f"after '{unfreeze[position - 1].at}', which is step {before}",
                allowed=f"a later place, from step {before + 1} on",
                where=f"unfreeze[{position}].at",
            )
        if here >= total_steps:
            raise PlanError(
                "an unfreezing entry starts when training is over",
                found=f"'{unfreeze[position].at}' is step {here}",
                allowed=f"steps before {total_steps}, or a share below 100%",
                where=f"unfreeze[{position}].at",
                remedy="move the entry forward or make train.length longer",
            )
