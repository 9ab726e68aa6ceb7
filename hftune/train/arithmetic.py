"""How a CUDA device multiplies fp32 and picks its convolutions, while something of ours runs."""

import contextlib
from collections.abc import Iterator, Mapping

import torch

# The first generation of CUDA devices with TF32.
_HAS_TF32 = (8, 0)


@contextlib.contextmanager
def fast_arithmetic(device: torch.device) -> Iterator[None]:
    """Let a CUDA device use TF32, and try for each shape which convolution is fastest.

    Whatever was set before is put back. A program that asked for deterministic algorithms keeps the
    convolutions that cuDNN picks without trying, which are the same in each process; one that set
    fp32's precision by torch's newer names keeps that. Other devices are left alone.
    """
    if device.type != "cuda":
        yield
        return
    precision, tries = _matmul_precision(), torch.backends.cudnn.benchmark
    if precision == "highest":
        torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = may_try_convolutions()
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = tries
        if precision == "highest":
            torch.set_float32_matmul_precision(precision)


def describe_arithmetic(device: torch.device) -> dict[str, bool]:
    """Say what `fast_arithmetic` does on `device`, for the record."""
    if device.type != "cuda":
        return {}
    return {
        "tf32": torch.cuda.get_device_capability(device) >= _HAS_TF32 and may_use_tf32(),
        "cudnn_autotune": may_try_convolutions(),
    }


def arithmetic_text(settings: Mapping[str, bool]) -> str:
    """Say in one line what `describe_arithmetic` gave for a CUDA device."""
    products = "TF32" if settings["tf32"] else "full precision"
    picked = "trying them for each shape" if settings["cudnn_autotune"] else "rule"
    return f"fp32 products in {products}; cuDNN picks convolutions by {picked}"


def may_try_convolutions() -> bool:
    """Say whether two processes may take different convolutions for the same shape."""
    return not (torch.are_deterministic_algorithms_enabled() or torch.backends.cudnn.deterministic)


def may_use_tf32() -> bool:
    """Say whether a device that has TF32 uses it while something of ours runs."""
    if _matmul_precision() == "highest":  # as `fast_arithmetic` does not leave it
        return True
    precision: str = torch.backends.cuda.matmul.fp32_precision
    return precision == "tf32"


def _matmul_precision() -> str | None:
    """Give fp32's precision in matrix products by its older name; None where it has none."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # set by the newer names
        return None
