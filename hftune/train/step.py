"""One optimizer step: rates, micro-batches, backward, clip, step."""

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hftune.core import Batch
from hftune.optim.l2_sp import pull_gradients
from hftune.optim.rate import phase_multiplier
from hftune.train.objective import example_losses

if TYPE_CHECKING:
    from hftune.train.session import Session


@dataclass(frozen=True, kw_only=True)
class StepStats:
    """What one step gave: `loss` is this rank's share of the mean loss, a scalar on the device.

    `rate` is the peak rate times schedule, phase and plateau; `grad_norm` is None without clipping.
    """

    loss: Tensor
    rate: float
    examples: int
    skipped: bool
    grad_norm: Tensor | None = None


def train_step(
    session: "Session", micro_batches: Sequence[Batch], *, step: int, rate_factor: float = 1.0
) -> StepStats:
    """Take one optimizer step over this rank's `micro_batches`. Called by every rank.

    `rate_factor` is what a plateau has left of the rates.

    The loss is divided by the examples of the whole step, over all ranks and micro-batches.
    """
    plan = session.plan
    rate = plan.peak_lr * rate_multiplier(session, step) * rate_factor
    set_rates(session.optimizer, rate)
    total = torch.zeros((), device=session.accelerator.device)
    for position, batch in enumerate(micro_batches):
        last = position == len(micro_batches) - 1
        part = position * plan.world_size + session.accelerator.process_index
        seed = micro_batch_seed(plan.seed, step=step, part=part)
        torch.manual_seed(seed)  # dropout and the like
        # Gradients travel between ranks on the last micro-batch only.
        quiet = contextlib.nullcontext() if last else session.accelerator.no_sync(session.wrapped)
        with quiet:
            loss = _share_of_loss(session, batch, seed=seed)
            # DDP averages gradients over ranks; the sum over ranks is wanted.
            session.accelerator.backward(loss * plan.world_size)
        total += loss.detach()
    norm = _finish_gradients(session)
    session.optimizer.step()
    skipped = bool(session.optimizer.step_was_skipped)
    session.optimizer.zero_grad(set_to_none=True)
    if session.average is not None and not skipped:
        session.average.update(session.module, step=step + 1)
    return StepStats(
        loss=total, rate=rate, examples=plan.batch_size, skipped=skipped, grad_norm=norm
    )


def rate_multiplier(session: "Session", step: int) -> float:
    """Give the multiple of the peak rate at `step`: the schedule's times the phase's."""
    return session.schedule(step) * phase_multiplier(session.phase, step)


def set_rates(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Write `rate` times its scale into every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def micro_batch_seed(seed: int, *, step: int, part: int) -> int:
    """Give the seed of a micro-batch, 63 bits, from (seed, step, its position in the step).

    The position counts over all ranks, so the same batch on other numbers of processes draws the
    same values.
    """
    digest = hashlib.blake2b(f"{seed} {step} {part}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1  # torch takes a signed seed


def _share_of_loss(session: "Session", batch: Batch, *, seed: int) -> Tensor:
    """Give this micro-batch's part of the step's mean loss, a scalar."""
    losses = example_losses(session, batch, seed=seed)
    if batch.weights is not None:
        losses = losses * batch.weights.to(losses.device)
    return losses.sum() / session.plan.batch_size


def _finish_gradients(session: "Session") -> Tensor | None:
    """Add the pull of the pretrained point, then clip; give the norm before clipping, if any.

    All ranks' gradients are complete by now. Side effect: unscales and changes gradients.
    """
    limit = session.plan.recipe.optim.clip_norm
    if session.pull is None and limit is None:
        return None
    session.accelerator.unscale_gradients(session.optimizer)
    if session.pull is not None:
        pull_gradients(session.pull)
    if limit is None:
        return None
    return nn.utils.clip_grad_norm_(session.module.parameters(), limit).detach()
