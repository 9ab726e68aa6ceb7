"""Open and close a phase: freeze, groups, optimizer, wrap. A phase is a fresh start.

DDP synchronises only what was trainable when it wrapped the model, so what is trainable never
changes under a live wrapper.
"""

import logging
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from hftune.core import Batch, Model, Phase, RunPlan, Split
from hftune.data.class_weights import class_weights
from hftune.data.image_input import model_inputs, train_transform
from hftune.data.loader import LoaderSpec, train_batches
from hftune.data.order import Order, Share, make_order
from hftune.losses import LossFunction, make_loss
from hftune.model.freeze import apply_freeze, set_train_mode
from hftune.model.in_place import avoid_copies
from hftune.model.layout import memory_format
from hftune.optim.l2_sp import Pull, place_pull
from hftune.optim.optimizers import make_optimizer
from hftune.optim.schedules import Schedule
from hftune.train.average import RunningMean, open_mean
from hftune.train.checkpoint import Memory
from hftune.train.compiled import Compiled
from hftune.train.frozen import Frozen, find_frozen
from hftune.train.guides import Guides
from hftune.train.kept import Kept
from hftune.train.plan import loss_of, plan_groups, plan_schedule
from hftune.train.prefetch import prefetched
from hftune.train.receipt import frozen_names

logger = logging.getLogger(__name__)

# How Python's numbers are kept; an optimizer's own scalar tensors are float32.
_PYTHON_NUMBERS = (torch.bool, torch.int64, torch.float64)


@dataclass(kw_only=True)
class Session:
    """One phase while it trains. `module` is bare, `wrapped` is what Accelerate made of it."""

    accelerator: Accelerator
    plan: RunPlan
    phase: Phase
    model: Model
    module: nn.Module
    wrapped: nn.Module
    optimizer: AcceleratedOptimizer
    schedule: Schedule
    loss: LossFunction
    class_weights: Tensor | None
    split: Split
    order: Order
    average: ModelEmaV3 | None
    standing: tuple[str, ...]
    mean: RunningMean
    pull: Pull | None
    guides: Guides
    layout: torch.memory_format
    frozen: Frozen | None = None
    kept: Kept | None = None
    kept_val: Kept | None = None
    compiled: Compiled | None = None

    def batches(self, start: int, stop: int) -> Generator[list[Batch], None, None]:
        """Give this rank's micro-batches of the steps `start` to `stop` (exclusive).

        Nothing happens before the first is asked for, so that a stop ends all of it: also the
        compilation, which takes its shapes from the first.
        """
        with closing(self._loaded(start, stop)) as items:  # ends the workers
            for item in items:
                if self.compiled is not None and not self.compiled.is_ready:
                    self.compiled.make_ready(self, item[0])
                yield item

    def _loaded(self, start: int, stop: int) -> Generator[list[Batch], None, None]:
        recipe = self.plan.recipe
        spec = LoaderSpec(
            start=start,
            stop=stop,
            share=Share(rank=self.accelerator.process_index, world_size=self.plan.world_size),
            micro_batch_size=self.plan.micro_batch_size,
            workers=recipe.data.workers,
            on_bad_image=recipe.data.on_bad_image,
        )
        if self.kept is not None:
            yield from self.kept.train_batches(self.split, self.order, spec)
            return
        device = self.accelerator.device
        transform = train_transform(self.model.input_spec, recipe.data.augment)
        if device.type == "cuda":  # quicker than workers at what it can do as exactly
            transform = transform.deferring()
        batches = train_batches(self.split, transform, self.order, spec)
        with closing(prefetched(batches, device, transform.deferred)) as ahead:  # ends the workers
            yield from ahead

    def to_device(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Give inputs and targets on the device, inputs normalised and in the recipe's layout.

        Where only the rest of a cut model is wrapped, inputs are what its prefix gives.
        """
        inputs = self.normalised(batch)
        if self.frozen is not None and self.frozen.is_cut and self.kept is None:
            with torch.no_grad(), self.accelerator.autocast():
                inputs = self.frozen.prefix(inputs)
        return inputs, batch.targets.to(self.accelerator.device, non_blocking=True)

    def normalised(self, batch: Batch) -> Tensor:
        """Give inputs on the device, pixels normalised and in the recipe's layout."""
        device, spec = self.accelerator.device, self.model.input_spec
        return model_inputs(batch.inputs, spec, device=device, layout=self.layout)

    def bare(self) -> "Session":
        """Give this session over images again, with the bare layers of what is wrapped."""
        frozen = self.frozen
        wrapped = frozen.rest if frozen is not None and frozen.is_cut else self.module
        return replace(self, wrapped=wrapped, kept=None, compiled=None)

    def forward(self, inputs: Tensor) -> Tensor:
        """Give the logits of the wrapped module, by compiled code where the plan says so."""
        logits: Tensor = (self.compiled or self.wrapped)(inputs)
        return logits

    def train_mode(self) -> None:
        """Put the module into train mode with the frozen layers' policy applied again."""
        set_train_mode(
            self.module,
            self.model.layers,
            trainable=self.phase.trainable,
            batch_norm=self.plan.recipe.freeze.batch_norm,
        )

    def judged_module(self) -> nn.Module:
        """Give the weights that are evaluated and published: the average where there is one.

        What never trains is copied into the average: averaging equal values keeps them but for
        the sign of zero.
        """
        if self.average is None:
            return self.module
        averaged: nn.Module = self.average.module
        mean, own = averaged.state_dict(), self.module.state_dict()
        for name in self.standing:
            mean[name].copy_(own[name])
        return averaged

    def share_buffers(self) -> None:
        """Give every rank the buffers of rank 0 (collective); rank 0's own are untouched."""
        if self.accelerator.num_processes > 1:
            for module in {id(m): m for m in (self.module, self.judged_module())}.values():
                for buffer in module.buffers():
                    torch.distributed.broadcast(buffer, src=0)

    def memory(self) -> Memory:
        """Give what outlives this phase: moments by parameter name, scaler, averaged weights."""
        optimizer = self.optimizer.optimizer
        moments: dict[str, dict[str, Tensor]] = {}
        group_state: dict[str, dict[str, float]] = {}
        for group in optimizer.param_groups:
            for name, parameter in zip(group["names"], group["params"], strict=True):
                state = optimizer.state.get(parameter, {})
                if state:
                    moments[name] = {
                        entry: _as_tensor(value)
                        for entry, value in state.items()
                        if value is not None
                    }
            if "step" in group:  # timm's LAMB and others count steps per group
                group_state[group["label"]] = {"step": float(group["step"])}
        scaler = self.accelerator.scaler
        return Memory(
            moments=moments,
            group_state=group_state,
            scaler=None if scaler is None else scaler.state_dict(),
            average=None if self.average is None else dict(self.average.module.state_dict()),
            swa=self.mean.values or None,
            swa_count=self.mean.count,
        )

    def close(self) -> Memory:
        """Unwrap the module, release Accelerate's references and give what goes on living."""
        memory = self.memory()
        self.share_buffers()
        self.accelerator.unwrap_model(self.wrapped, keep_fp32_wrapper=False)
        self.accelerator.free_memory()
        if self.compiled is not None:
            torch.compiler.reset()  # the next phase's graphs take the room of these
        return memory


def open_session(
    accelerator: Accelerator, model: Model, phase: Phase, *, plan: RunPlan, split: Split,
    memory: Memory, guides: Guides,
) -> Session:  # fmt: skip
    """Freeze, group, wrap; put back the moments of parameters that were training already.

    Called by every rank (wrapping is collective). Side effect: moves the module to the device.
    """
    module = model.module
    layout = memory_layout(plan, module)
    module.to(accelerator.device).to(memory_format=layout)
    avoid_copies(module)
    apply_freeze(module, phase.trainable)
    average = _open_average(plan, module, memory)
    optimizer = make_optimizer(plan_groups(plan, model, phase), module, plan.recipe.optim)
    restore_moments(optimizer, memory)
    set_train_mode(
        module, model.layers, trainable=phase.trainable, batch_norm=plan.recipe.freeze.batch_norm
    )
    frozen = find_frozen(accelerator, plan, model, phase, layout=layout)
    core = frozen.rest if frozen is not None and frozen.is_cut else module
    # The optimizer's state lies where it belongs already.
    wrapped, prepared = accelerator.prepare(core, optimizer, device_placement=[True, False])
    if memory.scaler and accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(memory.scaler)
    session = Session(
        accelerator=accelerator,
        plan=plan,
        phase=phase,
        model=model,
        module=module,
        wrapped=wrapped,
        optimizer=prepared,
        schedule=plan_schedule(plan),
        loss=make_loss(loss_of(plan.recipe), problem=plan.recipe.problem, labels=split.labels),
        class_weights=_weigh_classes(plan, split, accelerator.device),
        split=split,
        order=_make_order(plan, split, frozen),
        average=average,
        standing=() if average is None else never_trained(plan, model),
        mean=open_mean(memory),
        pull=None if guides.start is None else place_pull(guides.start, module),
        guides=guides,
        layout=layout,
        frozen=frozen,
        compiled=Compiled(wrapped, plan) if plan.compiled else None,
    )
    session.train_mode()
    return session


def _make_order(plan: RunPlan, split: Split, frozen: Frozen | None) -> Order:
    """Give the order of a phase; it shows as many versions of an image as may be kept."""
    order = make_order(
        split, batch_size=plan.batch_size, seed=plan.seed, balance=plan.recipe.data.balance
    )
    if frozen is not None and frozen.is_cut and frozen.views.seed is not None:
        return replace(order, views=frozen.views.number)
    return order


def memory_layout(plan: RunPlan, module: nn.Module) -> torch.memory_format:
    """Give the layout of 4-d tensors that the recipe asks for, or that `module` gains from."""
    return memory_format(plan.recipe.train.channels_last, module)


def restore_moments(optimizer: torch.optim.Optimizer, memory: Memory) -> None:
    """Put moments back by parameter name; a parameter without any starts fresh.

    Side effect: fills the optimizer's state, on each parameter's device and in its layout.
    """
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            if name in memory.moments:
                on_device = group.get("fused") or group.get("capturable")
                counter = parameter.device if on_device else torch.device("cpu")
                optimizer.state[parameter] = {
                    entry: _like_parameter(value, parameter, entry, counter=counter)
                    for entry, value in memory.moments[name].items()
                }
        for entry, value in memory.group_state.get(group["label"], {}).items():
            group[entry] = int(value)
    # As load_state_dict ends: each optimizer brings what it is given into its own form.
    optimizer.__setstate__({"state": optimizer.state, "param_groups": optimizer.param_groups})
    if isinstance(optimizer, torch.optim.SGD):
        _start_momentum(optimizer)


def _start_momentum(optimizer: torch.optim.SGD) -> None:
    """Give parameters without a momentum one of zero, in groups where others go on with theirs.

    The fused step takes all or none. Without dampening a step from zero is a first step.
    """
    for group in optimizer.param_groups:
        states = [optimizer.state[parameter] for parameter in group["params"]]
        if group["fused"] and any(states):
            for parameter, state in zip(group["params"], states, strict=True):
                state.setdefault("momentum_buffer", torch.zeros_like(parameter))


def _as_tensor(value: Tensor | float) -> Tensor:
    """Give a tensor as it is, and Python's own number as a scalar that holds it exactly."""
    if isinstance(value, float):
        return torch.tensor(value, dtype=torch.float64)
    return torch.as_tensor(value)


def _like_parameter(
    value: Tensor, parameter: Tensor, entry: str, *, counter: torch.device
) -> Tensor | float:
    """Bring an entry to where its parameter lies; torch wants step counters on `counter`."""
    if value.ndim == 0 and value.dtype in _PYTHON_NUMBERS:
        return value.item()
    if entry == "step":
        return value.to(counter, copy=True)
    if value.shape != parameter.shape:
        return value.to(parameter.device, copy=True)
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def never_trained(plan: RunPlan, model: Model) -> tuple[str, ...]:
    """Name the tensors that no phase of the run changes."""
    names = frozen_names(plan, model)
    return () if names is None else names.standing


def _weigh_classes(plan: RunPlan, split: Split, device: torch.device) -> Tensor | None:
    component = plan.recipe.data.class_weights
    return None if component is None else class_weights(component, split.labels).to(device)


def _open_average(plan: RunPlan, module: nn.Module, memory: Memory) -> ModelEmaV3 | None:
    decay = plan.recipe.optim.ema
    if decay is None:
        return None
    # Warm-up lets the average leave the start behind also in a short run.
    average = ModelEmaV3(module, decay=decay, use_warmup=True)
    if memory.average is not None:
        average.module.load_state_dict(memory.average)
    return average
