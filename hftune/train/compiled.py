"""torch.compile of a session's forward pass: beside the module, never in it.

Weights, names and hooks stay those of the bare module; evaluation, checkpoints, averages and the
replay of a bad step do not know of it.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hftune.core import Batch, RunPlan
from hftune.errors import DeviceError
from hftune.train.untouched import untouched

if TYPE_CHECKING:
    from hftune.train.session import Session

_REMEDY = "set train.compile=off"


class Compiled:
    """The forward pass of a wrapped module, compiled for one shape of inputs by `make_ready`."""

    def __init__(self, wrapped: nn.Module, plan: RunPlan) -> None:
        self.is_ready = False
        self._run = torch.compile(wrapped, dynamic=False, mode=compile_mode(plan))

    def __call__(self, inputs: Tensor) -> Tensor:
        """Give what the wrapped module gives."""
        logits: Tensor = self._run(inputs)
        return logits

    def make_ready(self, session: "Session", batch: Batch) -> None:
        """Compile forward and backward for inputs like those of `batch`; takes a minute or more.

        Takes part in no collective, so that a rank may be stopped in it. Weights, buffers,
        gradients and random state stay as they are. Raises DeviceError where it cannot be compiled.
        """
        inputs, _ = session.to_device(batch)
        weights = [value for value in session.wrapped.parameters() if value.requires_grad]
        with compiler_errors(), untouched(session), session.accelerator.no_sync(session.wrapped):
            logits = self(inputs)
            torch.autograd.grad(logits.square().mean(), weights, allow_unused=True)
        self.is_ready = True


@contextlib.contextmanager
def compiler_errors() -> Iterator[None]:
    """Raise DeviceError where torch.compile cannot do with what the body gives it."""
    from torch._dynamo.exc import TorchDynamoException  # takes a second that others need not

    try:
        yield
    except TorchDynamoException as error:
        raise DeviceError(
            "torch.compile does not get along with this model or machine",
            found=next(iter(str(error).splitlines()), type(error).__name__),
            where="train.compile",
            remedy=_REMEDY,
        ) from error


def compile_mode(plan: RunPlan) -> str | None:
    """Give torch.compile's mode: one CUDA graph for a step where nothing cuts it.

    Gradients that are accumulated, or reduced between processes, outlive a graph's memory.
    """
    whole = plan.world_size == 1 and plan.accumulation == 1
    return "reduce-overhead" if whole and torch.cuda.is_available() else None


def check_compiler(device: torch.device) -> None:
    """Raise DeviceError where torch.compile finds none of the compilers that it needs."""
    names = compilers(device)
    if not any(shutil.which(name) for name in names):
        raise DeviceError(
            "torch.compile needs a compiler, and there is none",
            found=f"no {' or '.join(names)}",
            where="train.compile",
            remedy=f"install g++, or {_REMEDY}",
        )


def compilers(device: torch.device) -> tuple[str, ...]:
    """Give the programs of which torch.compile needs one: C++ for a CPU, C for what starts kernels.

    As torch and Triton look for them, each after a variable of its own.
    """
    if device.type == "cpu":
        return (os.environ.get("CXX", "g++"),)
    return (os.environ["CC"],) if "CC" in os.environ else ("gcc", "clang")
