"""One rank's part of a step once more, with an ear on every module, and no trace of it left."""

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from hftune.core import Batch
from hftune.train.objective import example_losses
from hftune.train.plan import loss_of
from hftune.train.step import micro_batch_part, micro_batch_seed, share_of_loss
from hftune.train.untouched import untouched
from hftune.train.watch import Fault, Watch, extent

if TYPE_CHECKING:
    from hftune.train.session import Session

Cause = Literal["weight", "pixels", "forward", "teacher", "loss", "loss_gradient", "backward"]

_MOST_NAMES = 4
# What fp32 can still square: a norm is the root of a sum of squares.
_LARGEST_SQUARED = math.sqrt(torch.finfo(torch.float32).max)
_STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is not finite in micro-batch number `part` of the step; `facts` are lines about it."""

    cause: Cause
    part: int
    facts: tuple[str, ...]


def find_fault(session: "Session", step: int) -> Finding | None:
    """Look for what is not finite in this rank's share of `step`; None where all of it is.

    Weights, buffers, gradients, the optimizer and all random state stay as they are.
    """
    module = session.module
    weights = [name for name in spoilt(module) if not _is_only_written(module, name)]
    if weights:
        fact = f"not finite before this step: {listed(weights)}"
        return Finding(cause="weight", part=0, facts=(fact,))
    session = session.bare()  # the wrapper would talk to the other ranks
    with closing(session.batches(step, step + 1)) as batches:
        micro_batches = next(batches)
    with untouched(session):
        for position, batch in enumerate(micro_batches):
            part = micro_batch_part(session, position)
            finding = _replay(session, batch, step=step, part=part)
            if finding is not None:
                return finding
    return None


def _replay(session: "Session", batch: Batch, *, step: int, part: int) -> Finding | None:
    """Run one micro-batch on the bare module as the step did, forward and where finite backward."""
    pixels = extent(session.normalised(batch))
    if not pixels.is_finite:
        spec = session.model.input_spec
        return Finding(
            cause="pixels",
            part=part,
            facts=(
                f"the pixels are not finite, after mean {spec.mean} and std {spec.std}",
                _images(session, batch, pixels.rows),
            ),
        )
    seed = micro_batch_seed(session.plan.seed, step=step, part=part)
    torch.manual_seed(seed)
    teacher = session.guides.teacher or nn.Identity()
    with Watch(session.module) as watch, Watch(teacher) as answers:
        losses = example_losses(session, batch, seed=seed)
    made = extent(losses)
    finding = _forward_finding(session, watch.fault, answers.fault, part=part)
    if finding is None and not made.is_finite:
        name = loss_of(session.plan.recipe).name
        facts = (
            f"the loss {name} is not finite, though what the model answers is",
            f"the largest value in the model is {watch.peak.value:.3g}, from {watch.peak.place}",
        )
        finding = Finding(cause="loss", part=part, facts=facts)
    if finding is None:
        finding = _backward_finding(session, watch, share_of_loss(session, losses, batch), part)
    if finding is None:
        return None
    return replace(finding, facts=(*finding.facts, _images(session, batch, made.rows)))


def _forward_finding(
    session: "Session", fault: Fault | None, of_teacher: Fault | None, *, part: int
) -> Finding | None:
    if fault is not None:
        first = f"{fault.place} gave values that are not finite, forward"
        return Finding(cause="forward", part=part, facts=(first, *_history(fault, "its inputs")))
    if of_teacher is not None:
        name = session.plan.recipe.distill.teacher
        first = f"{of_teacher.place} in the teacher {name} gave values that are not finite"
        history = _history(of_teacher, "its inputs")
        return Finding(cause="teacher", part=part, facts=(first, *history))
    return None


def _backward_finding(session: "Session", watch: Watch, loss: Tensor, part: int) -> Finding | None:
    """Take the gradients as the step does, scaled as it does, without touching any `.grad`."""
    scaler = session.accelerator.scaler
    scale = 1.0 if scaler is None else scaler.get_scale()
    weights = {n: value for n, value in session.module.named_parameters() if value.requires_grad}
    gradients = torch.autograd.grad(
        loss * session.plan.world_size * scale, list(weights.values()), allow_unused=True
    )
    found = {
        name: extent(gradient)
        for name, gradient in zip(weights, gradients, strict=True)
        if gradient is not None
    }
    bad = [name for name, one in found.items() if not one.is_finite]
    if bad:
        return _bad_gradient(session, watch, bad, part=part)
    name, most = max(found.items(), key=lambda item: item[1].largest)
    if most.largest / scale < _LARGEST_SQUARED:
        return None
    first = "all gradients are finite, but the squares in their norm are not"
    facts = (first, f"the largest is {most.largest / scale:.3g}, of {name}")
    return Finding(cause="backward", part=part, facts=facts)


def _bad_gradient(session: "Session", watch: Watch, bad: Sequence[str], *, part: int) -> Finding:
    """Tell where the gradients of the weights `bad` first were not finite."""
    start, fault = watch.first_bad_gradient(), watch.backward_fault(bad)
    if start is not None and start.is_first:
        first = f"the gradient of the loss {loss_of(session.plan.recipe).name} is not finite"
        other = "the loss itself and all values in the model are"
        return Finding(cause="loss_gradient", part=part, facts=(first, other))
    facts: tuple[str, ...] = (f"gradients that are not finite: {listed(bad)}",)
    if fault is not None:
        first = f"{fault.place} gave gradients that are not finite, backward"
        facts = (first, *_history(fault, "the gradient that came to it"))
    elif start is not None:
        first = f"what takes the output of {start.place} gave it a gradient that is not finite"
        facts = (first, *_history(start, "what is finite of it"))
    return Finding(cause="backward", part=part, facts=facts)


def _history(fault: Fault, given: str) -> tuple[str, ...]:
    lines = [f"{given}: finite, up to {fault.inputs:.3g}"]
    if fault.before.place:
        lines.append(f"largest value before: {fault.before.value:.3g}, from {fault.before.place}")
    return tuple(lines)


def _images(session: "Session", batch: Batch, positions: Sequence[int]) -> str:
    """Name the images at `positions` of a micro-batch; all of it where there are none."""
    rows = batch.rows.tolist()
    chosen = [rows[position] for position in positions] or rows
    names = listed([session.split.rows.key(row) for row in chosen])
    return f"images: {names} ({len(chosen)} of {len(rows)} in this micro-batch)"


def listed(names: Sequence[str]) -> str:
    """Give the first few of many names in one line."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def spoilt(module: nn.Module) -> list[str]:
    """Name the weights and the running statistics that are not finite (host-device sync)."""
    tensors: dict[str, Tensor] = dict(module.named_parameters())
    tensors |= {
        name: value
        for name, value in module.named_buffers()
        if name.rpartition(".")[2] in _STATISTICS
    }
    return [name for name, value in tensors.items() if not extent(value).is_finite]


def _is_only_written(module: nn.Module, name: str) -> bool:
    """Say whether a step does not read this: statistics in train mode, which it may spoil."""
    owner, _, leaf = name.rpartition(".")
    return leaf in _STATISTICS and module.get_submodule(owner).training
