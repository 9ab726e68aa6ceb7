"""Before a phase's first step: keep what its frozen prefix gives, where that saves time."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hftune.core import Phase, RunPlan
from hftune.data.image_input import eval_transform, train_transform
from hftune.model.prefix import prefix_state
from hftune.train.feature_cache import (
    Kitchen,
    Source,
    keep_features,
    kept_dtype,
    num_evaluations,
    repays,
)
from hftune.train.feature_key import Numerics, Views, feature_key, prefix_digest
from hftune.train.feature_store import Wanted, is_begun
from hftune.train.kept import Kept
from hftune.train.world import from_first

if TYPE_CHECKING:
    from hftune.train.frozen import Frozen
    from hftune.train.session import Session
    from hftune.train.surroundings import Surroundings

logger = logging.getLogger(__name__)

# Bytes per second at which rows are read back, at the least; reading must take at most this share
# of the time that computing them takes.
_READING_SPEED = 1e9
_MOST_READING = 0.3


@dataclass(frozen=True, kw_only=True)
class _Wish:
    """Images as they go into the prefix, and which rows come out."""

    source: Source
    wanted: Wanted


def keep_frozen(session: "Session", around: "Surroundings", *, step: int) -> None:
    """Keep the prefix's output for the training and the validation images, where it saves time.

    Called by every rank (collective). Side effect: sets what the session takes its batches and its
    evaluations from. Raises KeepingStopped.
    """
    frozen, phase, plan = session.frozen, session.phase, session.plan
    if frozen is None or step >= phase.stop:
        return
    # Asked of the whole phase: evaluation rounds otherwise over kept features, and a run that goes
    # on is to compute what it would have.
    wants_train = _wants_train(plan, phase, frozen=frozen, images=len(session.split))
    wants_val = num_evaluations(plan, phase) > 1 and _judges_same_prefix(session)
    if not wants_train and not wants_val:
        return
    waited = around.control.waited
    session.module.eval()
    kitchen = Kitchen(
        accelerator=session.accelerator,
        prefix=frozen.prefix,
        spec=session.model.input_spec,
        layout=session.layout,
        control=around.control,
    )
    try:
        _keep_both(session, around, kitchen, train=wants_train, val=wants_val)
    finally:
        session.train_mode()
        around.control.waited = waited  # to make features is not to wait for data


def _keep_both(
    session: "Session", around: "Surroundings", kitchen: Kitchen, *, train: bool, val: bool
) -> None:
    """Keep training and validation images, as far as they are wanted and it pays (collective)."""
    assert session.frozen is not None
    plan, spec, workers = session.plan, session.model.input_spec, around.judge.workers
    digest = prefix_digest(session.module, session.frozen.cut, session.model.base)
    of_train = of_val = None
    if train:
        source = Source(
            split=session.split,
            pixels=train_transform(spec, plan.recipe.data.augment),
            views=session.frozen.views,
            workers=workers,
        )
        of_train = _wish(session, source, digest=digest, batch_size=plan.micro_batch_size)
    if val:
        plain = eval_transform(spec)
        source = Source(
            split=around.val, pixels=lambda image, _: plain(image), views=Views(), workers=workers
        )
        of_val = _wish(session, source, digest=digest, batch_size=around.judge.batch_size)
    wishes = [wish for wish in (of_train, of_val) if wish is not None]
    if plan.recipe.train.cache.features == "auto" and not _is_worth_it(wishes, kitchen, plan):
        logger.info("the frozen part is run in every epoch: it takes no longer than to read back")
        return
    session.kept = None if of_train is None else _keep(session, kitchen, of_train)
    session.kept_val = None if of_val is None else _keep(session, kitchen, of_val)


def _wish(session: "Session", source: Source, *, digest: str, batch_size: int) -> _Wish:
    """Say which rows the images of `source` give; `digest` is the prefix's."""
    assert session.frozen is not None
    cut = session.frozen.cut
    numerics = Numerics(
        precision=session.plan.precision,
        device=session.accelerator.device,
        layout=session.layout,
        batch_size=batch_size,
        dtype=kept_dtype(cut.packing, session.plan.recipe.train.cache),
    )
    number, spec = source.views.number, session.model.input_spec
    versions = "" if number == 1 else f" in {number} versions each"
    wanted = Wanted(
        key=feature_key(digest, source.split, source.views, spec=spec, numerics=numerics),
        num_rows=number * len(source.split),
        width=cut.packing.width,
        dtype=numerics.dtype,
        batch_size=batch_size,
        says=f"outputs of {cut.last_layer} for {len(source.split)} {source.split.name} images"
        + versions,
    )
    return _Wish(source=source, wanted=wanted)


def _keep(session: "Session", kitchen: Kitchen, wish: _Wish) -> Kept | None:
    """Keep one split; None where it cannot be kept (collective)."""
    assert session.frozen is not None
    rows = keep_features(wish.source, kitchen, wish.wanted, session.plan.recipe.train.cache)
    if rows is None:
        return None
    return Kept(rows=rows, views=wish.source.views.number, cut=session.frozen.cut)


def _is_worth_it(wishes: Sequence[_Wish], kitchen: Kitchen, plan: RunPlan) -> bool:
    """Say whether rows save time (collective).

    Nothing is tried where some are there: who made them tried it, perhaps this run before a kill.
    """
    return from_first(any(is_begun(wish.wanted) for wish in wishes) or _pays(kitchen, plan))


def _wants_train(plan: RunPlan, phase: Phase, *, frozen: "Frozen", images: int) -> bool:
    """Say whether the training images are to be kept; say once why not where they cannot be."""
    if frozen.why_not is not None:
        is_on = plan.recipe.train.cache.features == "on"
        level = logging.WARNING if is_on else logging.INFO
        logger.log(level, "the frozen part is run in every epoch: %s", frozen.why_not)
        return False
    return repays(plan, steps=phase.stop - phase.start, rows=frozen.views.number * images)


def _pays(kitchen: Kitchen, plan: RunPlan) -> bool:
    """Measure whether to compute rows takes clearly longer than to read them."""
    spec, device = kitchen.spec, kitchen.accelerator.device
    shape = (plan.micro_batch_size, spec.channels, spec.height, spec.width)
    inputs = torch.zeros(shape, device=device).contiguous(memory_format=kitchen.layout)
    seconds = []
    with torch.no_grad(), kitchen.accelerator.autocast():
        for _ in range(2):
            before = time.monotonic()
            rows: Tensor = kitchen.prefix(inputs).cpu()  # host-device sync
            seconds.append(time.monotonic() - before)
    return bool(rows.nbytes / _READING_SPEED < _MOST_READING * min(seconds))


def _judges_same_prefix(session: "Session") -> bool:
    """Say whether the weights that are judged have the prefix of those that train.

    An average has it where nothing of it ever trains: `judged_module` copies that over.
    """
    if session.average is None:
        return True
    assert session.frozen is not None
    return prefix_state(session.module, session.frozen.cut).keys() <= set(session.standing)
