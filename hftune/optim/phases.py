"""The unfreezing schedule: which parameters train from which step on."""

from collections.abc import Sequence

from hftune.core import LayerMap, Phase
from hftune.errors import ModelError, PlanError
from hftune.model.select import select
from hftune.recipe.schema import UnfreezeStep
from hftune.units import parse_span


def make_phases(
    unfreeze: Sequence[UnfreezeStep],
    layers: LayerMap,
    names: Sequence[str],
    *,
    total_steps: int,
    steps_per_epoch: int,
) -> tuple[Phase, ...]:
    """Give phases that follow one another from step 0 to `total_steps`.

    `names` are all parameters of the model. Raises PlanError where nothing trains at step 0, an
    entry does not come after the one before it, or one starts when training is over; ModelError
    where an entry selects nothing.
    """
    starts = [
        parse_span(entry.at).steps(steps_per_epoch=steps_per_epoch, total_steps=total_steps)
        for entry in unfreeze
    ]
    _check_starts(unfreeze, starts, total_steps=total_steps)
    stops = [*starts[1:], total_steps]
    phases = []
    for position, (entry, start, stop) in enumerate(zip(unfreeze, starts, stops, strict=True)):
        try:
            trainable = select(entry.train, layers, names)
        except ModelError as error:
            error.where = f"unfreeze[{position}].train"
            raise
        shallowest = min(layers.depth[name] for name in trainable)
        phases.append(
            Phase(
                start=start,
                stop=stop,
                trainable=trainable,
                label=", ".join(entry.train),
                frozen_prefix=shallowest or None,
            )
        )
    return tuple(phases)


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
