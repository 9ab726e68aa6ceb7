"""One optimizer step: rates, micro-batches, backward, clip, step."""

import contextlib
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hftune.core import Batch
from hftune.optim.l2_sp import pull_gradients
from hftune.optim.rate import phase_multiplier
from hftune.train.early_step import can_skip, step_early
from hftune.train.objective import example_losses
from hftune.train.overflow import is_ordinary_overflow, poisoned
from hftune.train.training_memory import training_memory

if TYPE_CHECKING:
    from hftune.train.session import Session


class BadStep(Exception):
    """The loss or the gradient of a step is not finite: raised on every rank alike.

    The optimizer's step was not taken, so all weights are good; gradients are gone.
    `explain_bad_step` says why.
    """


@dataclass(frozen=True, kw_only=True)
class StepStats:
    """What one step gave: `loss` is this rank's share of the mean loss, a scalar on the device.

    `rate` is the peak rate times schedule, phase and plateau; `grad_norm` is that of the whole
    gradient before clipping, not finite where the loss scaler skipped the step.
    """

    loss: Tensor
    rate: float
    examples: int
    skipped: bool
    grad_norm: float


def train_step(
    session: "Session", micro_batches: Sequence[Batch], *, step: int, rate_factor: float = 1.0
) -> StepStats:
    """Take one optimizer step over this rank's `micro_batches`. Called by every rank.

    `rate_factor` is what a plateau has left of the rates. Raises BadStep in place of a step that is
    not finite, and MemoryShortError on a rank whose memory does not hold it.

    The loss is divided by the examples of the whole step, over all ranks and micro-batches.
    """
    plan = session.plan
    rate = plan.peak_lr * rate_multiplier(session, step) * rate_factor
    set_rates(session.optimizer, rate)
    with training_memory(session):
        loss = _accumulate(session, micro_batches, step=step)
        gradients, norm = _complete_gradients(session)
        grad_norm = _step_if_finite(session, norm)  # host-device sync, one at every step
        skipped = not math.isfinite(grad_norm)
        if skipped:
            if not is_ordinary_overflow(session, loss, gradients):
                session.optimizer.zero_grad(set_to_none=True)
                raise BadStep(f"step {step}: the norm of the gradient is {grad_norm}")
            session.accelerator.scaler.update()  # to a smaller scale; nothing moves
        session.optimizer.zero_grad(set_to_none=True)
        if session.average is not None and not skipped:
            session.average.update(session.module, step=step + 1)
    return StepStats(
        loss=loss, rate=rate, examples=plan.batch_size, skipped=skipped, grad_norm=grad_norm
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


def share_of_loss(session: "Session", losses: Tensor, batch: Batch) -> Tensor:
    """Give a micro-batch's part of the step's mean loss, a scalar, from its losses [B]."""
    if batch.weights is not None:
        losses = losses * batch.weights.to(losses.device)
    return losses.sum() / session.plan.batch_size


def micro_batch_part(session: "Session", position: int) -> int:
    """Give the place of this rank's micro-batch `position` among all of the step."""
    rank: int = session.accelerator.process_index
    return position * session.plan.world_size + rank


def _accumulate(session: "Session", micro_batches: Sequence[Batch], *, step: int) -> Tensor:
    """Run every micro-batch forward and backward; give this rank's share of the mean loss.

    Side effect: fills the gradients (collective). A loss that is not finite makes them NaN.
    """
    plan = session.plan
    total = torch.zeros((), device=session.accelerator.device)
    for position, batch in enumerate(micro_batches):
        last = position == len(micro_batches) - 1
        seed = micro_batch_seed(plan.seed, step=step, part=micro_batch_part(session, position))
        torch.manual_seed(seed)  # dropout and the like
        # Gradients travel between ranks on the last micro-batch only.
        quiet = contextlib.nullcontext() if last else session.accelerator.no_sync(session.wrapped)
        with quiet:
            losses = example_losses(session, batch, seed=seed)
            loss = share_of_loss(session, losses, batch)
            # DDP averages gradients over ranks; the sum over ranks is wanted.
            session.accelerator.backward(poisoned(loss, plan.world_size))
        total += loss.detach()
    return total


def _complete_gradients(session: "Session") -> tuple[list[Tensor], Tensor]:
    """Unscale, and add the pull of the pretrained point; give all gradients and their norm.

    All ranks' gradients are complete by now, and equal. Side effect: changes gradients.
    """
    scaler = session.accelerator.scaler
    if scaler is not None:
        scaler.unscale_(session.optimizer.optimizer)
    if session.pull is not None:
        pull_gradients(session.pull)
    gradients = [value.grad for value in session.module.parameters() if value.grad is not None]
    return gradients, nn.utils.get_total_norm(gradients)


def _step_if_finite(session: "Session", norm: Tensor) -> float:
    """Clip, and let the optimizer step where the norm of the gradient is finite; give this norm.

    Host-device sync: after a step that a GPU can skip by itself, else before it. fp16's loss scaler
    has to know first.
    """
    optimizer = session.optimizer.optimizer
    if norm.is_cuda and session.accelerator.scaler is None and can_skip(optimizer):
        _clip(session, norm)
        return step_early(optimizer, norm)
    grad_norm = float(norm)
    if math.isfinite(grad_norm):
        _clip(session, norm)
        session.optimizer.step()
    return grad_norm


def _clip(session: "Session", norm: Tensor) -> None:
    """Shrink the gradient where its norm is above the recipe's limit. Changes gradients."""
    limit = session.plan.recipe.optim.clip_norm
    if limit is not None:
        nn.utils.clip_grads_with_norm_(session.module.parameters(), limit, norm)
