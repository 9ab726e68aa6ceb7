"""The environment of a run, and the facts about machine and versions that stand over the tables."""

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from hftune.train.allocator import find_machine, with_jemalloc
from hftune.train.run_folder import processor_name

_PACKAGES = ("torch", "torchvision", "timm", "accelerate", "transformers", "fastai", "hftune")


def own_environment(scratch: Path) -> dict[str, str]:
    """Give the environment of hftune: it settles its allocator itself. No network, fresh caches."""
    return {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(scratch / "hub"),
        "HFTUNE_CACHE": str(scratch / "cache"),
        "TOKENIZERS_PARALLELISM": "false",
    }


def peer_environment(scratch: Path, *, keeps_memory: bool) -> dict[str, str]:
    """Give the environment of a peer; where `keeps_memory`, with an allocator that keeps memory."""
    return own_environment(scratch) | (allocator_settings() if keeps_memory else {})


def allocator_settings() -> dict[str, str]:
    """Give the variables that let a process keep its memory, as hftune's own command does.

    None of them where a GPU computes: there hftune leaves its allocator alone as well.
    """
    machine = find_machine()
    if machine.has_gpu or not machine.has_glibc:
        return {}
    if machine.jemalloc is not None:
        return with_jemalloc({}, machine.jemalloc)
    return {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**62),
        "THP_MEM_ALLOC_ENABLE": "1",
    }


def facts(command: Sequence[str]) -> dict[str, str]:
    """Give what a reader has to know about the machine."""
    known = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": f"`{' '.join(command)}`",
        "processor": f"{processor_name()}, {psutil.cpu_count(logical=True)} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "GPU": gpu_name(),
        "load of the machine as it began": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
    }
    for package in _PACKAGES:
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            known[package] = "not installed"
    return known | {"commit of hftune": commit()}


def gpu_name() -> str:
    """Give the first GPU's name as its driver says it; so this process takes no memory there."""
    if shutil.which("nvidia-smi") is None:
        return "none"
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "-i", "0"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def commit() -> str:
    """Give the commit of the checkout."""
    if shutil.which("git") is None:
        return "unknown"
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
