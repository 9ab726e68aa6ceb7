"""Before a phase's first step: keep what its frozen prefix gives, where that saves time."""

import logging
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hftune.core import RunPlan
from hftune.data.image_input import eval_transform, train_transform
from hftune.model.prefix import prefix_state
from hftune.train.feature_cache import Kitchen, Source, keep_features
from hftune.train.feature_key import Numerics, Views, feature_key, prefix_digest
from hftune.train.feature_store import Wanted
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


def keep_frozen(session: "Session", around: "Surroundings", *, step: int) -> None:
    """Keep the prefix's output for the training and the validation images, where it saves time.

    Called by every rank (collective). Side effect: sets what the session takes its batches and its
    evaluations from. Raises KeepingStopped.
    """
    frozen, phase, plan = session.frozen, session.phase, session.plan
    if frozen is None or step >= phase.stop:
        return
    wants_train = _wants_train(plan, frozen, steps=phase.stop - step, images=len(session.split))
    wants_val = _evaluations(plan, step, phase.stop) > 1 and _judges_same_prefix(session)
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
    frozen, plan, spec = session.frozen, session.plan, session.model.input_spec
    assert frozen is not None
    if plan.recipe.train.cache.features == "auto" and not from_first(_pays(kitchen, plan)):
        logger.info("the frozen part is run in every epoch: it takes no longer than to read back")
        return
    digest = prefix_digest(session.module, frozen.cut, session.model.base)
    if train:
        augment = train_transform(spec, plan.recipe.data.augment)
        session.kept = _keep(
            session, kitchen, Source(
                split=session.split, pixels=augment, views=frozen.views,
                workers=around.judge.workers,
            ), digest=digest, batch_size=plan.micro_batch_size,
        )  # fmt: skip
    if val:
        plain = eval_transform(spec)
        session.kept_val = _keep(
            session, kitchen, Source(
                split=around.val, pixels=lambda image, _: plain(image), views=Views(),
                workers=around.judge.workers,
            ), digest=digest, batch_size=around.judge.batch_size,
        )  # fmt: skip


def _keep(
    session: "Session", kitchen: Kitchen, source: Source, *, digest: str, batch_size: int
) -> Kept | None:
    """Keep one split (collective)."""
    assert session.frozen is not None
    recipe, cut = session.plan.recipe.train.cache, session.frozen.cut
    numerics = Numerics(
        precision=session.plan.precision,
        device=session.accelerator.device,
        layout=session.layout,
        batch_size=batch_size,
        dtype=torch.bfloat16 if recipe.dtype == "bf16" else cut.packing.dtype,
    )
    number = source.views.number
    versions = "" if number == 1 else f" in {number} versions each"
    wanted = Wanted(
        key=feature_key(digest, source.split, source.views, spec=kitchen.spec, numerics=numerics),
        num_rows=number * len(source.split),
        width=cut.packing.width,
        dtype=numerics.dtype,
        batch_size=batch_size,
        says=f"outputs of {cut.last_layer} for {len(source.split)} {source.split.name} images"
        + versions,
    )
    rows = keep_features(source, kitchen, wanted, recipe)
    return None if rows is None else Kept(rows=rows, views=number, cut=cut)


def _wants_train(plan: RunPlan, frozen: "Frozen", *, steps: int, images: int) -> bool:
    """Say whether the training images are to be kept; say once why not where they cannot be."""
    is_on = plan.recipe.train.cache.features == "on"
    if frozen.why_not is not None:
        level = logging.WARNING if is_on else logging.INFO
        logger.log(level, "the frozen part is run in every epoch: %s", frozen.why_not)
        return False
    return is_on or steps * plan.batch_size > frozen.views.number * images


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


def _evaluations(plan: RunPlan, step: int, stop: int) -> int:
    """Count the evaluations from `step` (exclusive) to `stop`."""
    number = stop // plan.eval_every - step // plan.eval_every
    return number + (stop == plan.total_steps and stop % plan.eval_every > 0)


def _judges_same_prefix(session: "Session") -> bool:
    """Say whether the weights that are judged have the prefix of those that train.

    An average has it where nothing of it ever trains: `judged_module` copies that over.
    """
    if session.average is None:
        return True
    assert session.frozen is not None
    return prefix_state(session.module, session.frozen.cut).keys() <= set(session.standing)
