"""A device without enough memory: told apart from other failures, and said in an evaluation."""

import contextlib
from collections.abc import Iterator

import torch

from hftune.errors import MemoryShortError
from hftune.train.machine_memory import device_memory

# What torch says in a plain RuntimeError: its CPU allocator, cuBLAS's work space, the driver.
_SIGNS = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory")


def is_memory_shortage(error: BaseException) -> bool:
    """Say whether an error means that memory did not suffice."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


@contextlib.contextmanager
def evaluation_memory(device: torch.device, batch_size: int) -> Iterator[None]:
    """Turn a shortage of memory in a forward pass of `batch_size` images into MemoryShortError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_memory_shortage(error):
            raise
        remedy = "free memory on the device, or set model.image_size to less"
        if batch_size > 1:
            remedy = (
                f"set eval.batch_size={batch_size // 2} or less; no result depends on it, and a "
                "run that was begun is started anew with it in another folder (--output)"
            )
        raise MemoryShortError(
            "the memory of the device does not hold an evaluation",
            found=f"{batch_size} images at once; {device} has {device_memory(device)}",
            where="eval.batch_size",
            remedy=remedy,
        ) from error
