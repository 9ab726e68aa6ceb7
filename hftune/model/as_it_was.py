"""Passes through a module that leave no trace in it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def as_it_was(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Put back modes, buffers and the random state of torch after the body, on `device` as well.

    No other random state is drawn from by a step. Weights and gradients are left to the body.
    """
    modes = {part: part.training for part in module.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
