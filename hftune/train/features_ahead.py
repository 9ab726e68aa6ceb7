"""What will be kept of a phase's frozen layers, how large and where, before a run begins."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from hftune.core import Model, Phase, RunPlan, Split, Splits
from hftune.model.prefix import prefix_state
from hftune.train.feature_cache import kept_dtype, num_evaluations, place_ahead, repays
from hftune.train.frozen import Frozen, divide, wants_cut
from hftune.train.memory import autocast
from hftune.train.micro_batch_trial import training_copy
from hftune.train.session import memory_layout, never_trained
from hftune.units import format_size


@dataclass(frozen=True, kw_only=True)
class PhaseFeatures:
    """What one phase is to keep: `width` numbers of type `dtype` per image, as `cut` gives them.

    `train` and `val` say for how many images, in how many bytes and where; or why not. Where no
    cut was found, `cut`, `width` and `dtype` are None.
    """

    start: int
    stop: int
    cut: str | None
    width: int | None
    dtype: str | None
    train: str
    val: str


def features_ahead(
    plan: RunPlan, model: Model, splits: Splits, device: torch.device
) -> tuple[PhaseFeatures, ...]:
    """Foresee each phase that has frozen layers in front which its recipe wants cut off.

    Whether rows take longer to compute than to read back is measured when a run begins, not here.
    Runs a copy of the model on a few drawn images; leaves `model` as it is and writes nothing.
    """
    return tuple(_of_phases(plan, model, splits, device))


def _of_phases(
    plan: RunPlan, model: Model, splits: Splits, device: torch.device
) -> Iterator[PhaseFeatures]:
    for phase in plan.phases:
        if not wants_cut(plan, phase):
            continue
        module = training_copy(plan, model, phase, device=device)
        copied = replace(model, module=module)
        with autocast(plan.precision, device):
            frozen = divide(plan, copied, device=device, layout=memory_layout(plan, module))
        if frozen is None:
            why_not = "run in every epoch: no frozen part can be told apart"
            yield PhaseFeatures(
                start=phase.start, stop=phase.stop, cut=None, width=None, dtype=None,
                train=why_not, val=why_not,
            )  # fmt: skip
            continue
        packing = frozen.cut.packing
        yield PhaseFeatures(
            start=phase.start,
            stop=phase.stop,
            cut=frozen.cut.last_layer,
            width=packing.width,
            dtype=str(kept_dtype(packing, plan.recipe.train.cache)).removeprefix("torch."),
            train=_train(plan, phase, frozen, splits.train),
            val=_val(plan, phase, frozen, split=splits.val, model=copied),
        )


def _train(plan: RunPlan, phase: Phase, frozen: Frozen, split: Split) -> str:
    """Say what becomes of the training images."""
    if frozen.why_not is not None:
        return f"run in every epoch: {frozen.why_not}"
    passes, steps = frozen.views.number, phase.stop - phase.start
    if not repays(plan, steps=steps, rows=passes * len(split)):
        return "run in every epoch: the phase has no more epochs than passes to make"
    return _kept(plan, frozen, split, views=passes)


def _val(plan: RunPlan, phase: Phase, frozen: Frozen, *, split: Split, model: Model) -> str:
    """Say what becomes of the validation images."""
    if num_evaluations(plan, phase) <= 1:
        return "run in every evaluation: the phase has no more than one"
    if plan.recipe.optim.ema is not None:
        standing = set(never_trained(plan, model))
        if not prefix_state(model.module, frozen.cut).keys() <= standing:
            return "run in every evaluation: the averaged weights differ from those that train"
    return _kept(plan, frozen, split, views=1)


def _kept(plan: RunPlan, frozen: Frozen, split: Split, *, views: int) -> str:
    recipe, packing = plan.recipe.train.cache, frozen.cut.packing
    size = views * len(split) * packing.width * kept_dtype(packing, recipe).itemsize
    versions = "" if views == 1 else f" in {views} versions"
    return f"{len(split)} images{versions}, {format_size(size)}, {place_ahead(size, recipe)}"
