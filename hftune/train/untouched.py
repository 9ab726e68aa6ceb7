"""A forward and backward pass that leaves no trace in a session."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from hftune.train.session import Session


@contextlib.contextmanager
def untouched(session: "Session") -> Iterator[None]:
    """Put back buffers and the random state of torch, the only one that a step draws from."""
    device = session.accelerator.device
    buffers = list(session.module.buffers())
    before = [buffer.clone() for buffer in buffers]
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
