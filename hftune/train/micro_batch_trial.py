"""Tries on a GPU whether a micro-batch fits, with drawn images and a copy of the model."""

import copy
import gc
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hftune.core import Model, Phase, RunPlan
from hftune.model.freeze import apply_freeze, set_train_mode
from hftune.optim.optimizers import make_optimizer
from hftune.train.arithmetic import fast_arithmetic
from hftune.train.machine_memory import device_memory
from hftune.train.memory import autocast, copy_bytes
from hftune.train.memory_short import is_memory_shortage
from hftune.train.plan import plan_groups
from hftune.train.session import memory_layout

# Of the room on the device; the rest is for the wrapper of several processes and fragmentation.
_SHARE_OF_DEVICE = 0.92


def fits_on_gpu(
    plan: RunPlan, model: Model, phase: Phase, *, device: torch.device, teacher: nn.Module | None
) -> bool:
    """Say whether steps of `phase` with the plan's micro-batch fit, `teacher` beside the model.

    Afterwards memory is free again, and weights, buffers and random state are as before.
    """
    free_memory()
    room = device_memory(device).room
    torch.cuda.reset_peak_memory_stats(device)
    try:
        with torch.random.fork_rng(devices=[device]), fast_arithmetic(device):
            _train(plan, model, phase, device=device, teacher=teacher)
    except (RuntimeError, MemoryError) as error:
        if not is_memory_shortage(error):
            raise
        return False
    finally:
        taken = torch.cuda.max_memory_reserved(device)
        free_memory()
    return taken <= _SHARE_OF_DEVICE * room


def _train(
    plan: RunPlan, model: Model, phase: Phase, *, device: torch.device, teacher: nn.Module | None
) -> None:
    """Take a step, then accumulate: gradients, moments and activations are there at once."""
    module = training_copy(plan, model, phase, device=device)
    optimizer = make_optimizer(plan_groups(plan, model, phase), module, plan.recipe.optim)
    beside = nn.Identity() if teacher is None else copy.deepcopy(teacher).to(device)
    held = torch.empty(copy_bytes(plan, model, phase), dtype=torch.uint8, device=device)

    def forward(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            beside(inputs)
        logits: Tensor = module(inputs)
        return logits

    drawn_pass(plan, model, forward, device=device)
    optimizer.step()
    drawn_pass(plan, model, forward, device=device)
    del held  # the averages of the weights are there until here


def training_copy(plan: RunPlan, model: Model, phase: Phase, *, device: torch.device) -> nn.Module:
    """Give a copy of the module on `device` that trains as in `phase`."""
    layout = memory_layout(plan, model.module)
    module = copy.deepcopy(model.module).to(device).to(memory_format=layout)
    apply_freeze(module, phase.trainable)
    policy = plan.recipe.freeze.batch_norm
    set_train_mode(module, model.layers, trainable=phase.trainable, batch_norm=policy)
    return module


def drawn_pass(
    plan: RunPlan, model: Model, forward: Callable[[Tensor], Tensor], *, device: torch.device
) -> None:
    """Run a micro-batch of drawn images forward and backward, in the run's precision."""
    run_pass(plan, forward, drawn_images(plan, model, device=device))


def drawn_images(plan: RunPlan, model: Model, *, device: torch.device) -> Tensor:
    """Give a micro-batch of inputs [B, C, H, W] drawn at random, in the run's layout."""
    spec, size = model.input_spec, plan.micro_batch_size
    inputs = torch.rand(size, spec.channels, spec.height, spec.width, device=device)
    return inputs.to(memory_format=memory_layout(plan, model.module))


def run_pass(plan: RunPlan, forward: Callable[[Tensor], Tensor], inputs: Tensor) -> None:
    """Run `inputs` forward and backward, in the run's precision."""
    with autocast(plan.precision, inputs.device):
        logits = forward(inputs)
    loss = logits.float().square().mean()  # a real one takes next to nothing as well
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without types


def free_memory() -> None:
    """Give back the device memory that nothing holds."""
    gc.collect()  # what a failed pass left may lie in rings of references
    torch.cuda.empty_cache()
