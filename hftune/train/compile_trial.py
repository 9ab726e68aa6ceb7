"""`train.compile: auto`: whether a run is long enough for compiled code to pay, by trying."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from hftune.core import Model, Phase, RunPlan
from hftune.errors import DeviceError
from hftune.train.arithmetic import fast_arithmetic
from hftune.train.compiled import check_compiler, compile_mode, compiler_errors
from hftune.train.frozen import divide, wants_cut
from hftune.train.memory import autocast
from hftune.train.micro_batch_trial import drawn_images, free_memory, run_pass, training_copy
from hftune.train.run_facts import read_plan
from hftune.train.session import memory_layout
from hftune.train.world import World, from_first

logger = logging.getLogger(__name__)

# A common backbone compiles for a minute, twice where the trial's work is not found again, and
# gains a tenth to a third: what computes for less than this wins nothing.
_LEAST_SECONDS = 600.0
_WARM_UP = 3
_TIMED = 10


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Seconds of a forward and backward pass as it is and compiled, and of the compilation."""

    plain: float
    compiled: float
    compilation: float

    def gain(self, passes: int) -> float:
        """Give the seconds that `passes` passes gain, less the compilation of the run itself."""
        return passes * (self.plain - self.compiled) - self.compilation


def settle_compile(
    plan: RunPlan, model: Model, world: World, *, begun: bool | None = None
) -> RunPlan:
    """Give `plan` with the answer whether steps are compiled, where its recipe says auto.

    A run that goes on keeps to what it was `begun` with: compiled code rounds otherwise. A CPU
    gains nothing; a GPU is tried on rank 0 with drawn images and a copy of the model. Called by
    every rank (collective); leaves no trace in memory, `model` or random state.
    """
    if plan.recipe.train.compile != "auto":
        return plan
    begun = from_first(begun)  # collective: other machines may not see the folder of the run
    if begun is None:
        begun = from_first(world.is_first and _pays(plan, model, world.device))
    return replace(plan, compiled=begun)


def settled_compile(run: Path) -> bool | None:
    """Say whether the run in a folder was begun with compiled steps; None where none was."""
    settled = read_plan(run).get("compiled")
    return settled if isinstance(settled, bool) else None


def _pays(plan: RunPlan, model: Model, device: torch.device) -> bool:
    """Try the phase that trains most on this device, and say in the log what came out."""
    if device.type != "cuda":
        logger.debug("train.compile auto: off, for a CPU gains nothing by it")
        return False
    phase = max(plan.phases, key=lambda one: (one.stop - one.start) * len(one.trainable))
    passes = (phase.stop - phase.start) * plan.accumulation
    try:
        check_compiler(device)
        trial = try_compiled(plan, model, phase, device=device, least=_LEAST_SECONDS / passes)
    except DeviceError as error:
        logger.warning("train.compile auto: off; %s", error.problem)
        return False
    if trial is None:
        logger.info("train.compile auto: off, for the run is too short to pay for a compilation")
        return False
    gain = trial.gain(passes)
    logger.info(
        "train.compile auto: %s; a pass takes %.1f ms, compiled %.1f ms; %.0f s of compilation, "
        "%.0f s gained over %d passes",
        *("on" if gain > 0 else "off", 1e3 * trial.plain, 1e3 * trial.compiled, trial.compilation),
        *(gain, passes),
    )
    return gain > 0


def try_compiled(
    plan: RunPlan, model: Model, phase: Phase, *, device: torch.device, least: float
) -> Trial | None:
    """Time passes of `phase` as they are, and compiled; None where one takes less than `least`.

    A pass is one through what would be compiled. `least` is in seconds. Raises DeviceError where
    that cannot be compiled.
    """
    forked = [device] if device.type == "cuda" else []
    try:
        with compiler_errors(), torch.random.fork_rng(devices=forked), fast_arithmetic(device):
            part, inputs = _what_is_wrapped(plan, model, phase, device=device)
            plain = _seconds(lambda: run_pass(plan, part, inputs), device)
            if plain < least:
                return None
            start = time.monotonic()
            run = torch.compile(part, dynamic=False, mode=compile_mode(plan))
            forward: Callable[[Tensor], Tensor] = run
            run_pass(plan, forward, inputs)
            compilation = time.monotonic() - start
            compiled = _seconds(lambda: run_pass(plan, forward, inputs), device)
    finally:
        torch.compiler.reset()
        free_memory()
    return Trial(plain=plain, compiled=compiled, compilation=compilation)


def _what_is_wrapped(
    plan: RunPlan, model: Model, phase: Phase, *, device: torch.device
) -> tuple[nn.Module, Tensor]:
    """Give what a session of `phase` wraps, as a copy on `device`, and drawn inputs for it.

    Where frozen layers are cut off, that is the rest, which takes what they give.
    """
    module = training_copy(plan, model, phase, device=device)
    images = drawn_images(plan, model, device=device)
    if not wants_cut(plan, phase):
        return module, images
    layout = memory_layout(plan, module)
    with autocast(plan.precision, device):
        frozen = divide(plan, replace(model, module=module), device=device, layout=layout)
        if frozen is None or not frozen.is_cut:
            return module, images
        with torch.no_grad():
            return frozen.rest, frozen.prefix(images)


def _seconds(run: Callable[[], None], device: torch.device) -> float:
    """Give the median seconds of one call, after a few to warm up (host-device syncs)."""
    times = []
    for _ in range(_WARM_UP + _TIMED):
        start = time.monotonic()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.monotonic() - start)
    return sorted(times[_WARM_UP:])[_TIMED // 2]
