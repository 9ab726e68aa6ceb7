"""How much memory a device has and how much of it this process may still take."""

import os
import re
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch

from hftune.units import format_size


@dataclass(frozen=True, kw_only=True)
class DeviceMemory:
    """Bytes of one device: `free` is what nobody has, `own` what this process has."""

    total: int
    free: int
    own: int

    @property
    def room(self) -> int:
        """All that this process could have."""
        return self.free + self.own

    def __str__(self) -> str:
        """Say the three in one line."""
        return (
            f"{format_size(self.total)}, {format_size(self.own)} of them taken by this process, "
            f"{format_size(self.free)} free"
        )


def device_memory(device: torch.device) -> DeviceMemory:
    """Give the memory of a GPU, or this machine's as far as its control group may use it."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return DeviceMemory(total=total, free=free, own=torch.cuda.memory_reserved(device))
    return machine_memory()


def machine_memory(root: Path = Path("/")) -> DeviceMemory:
    """Give the memory of this machine, or of the narrowest control group around this process.

    `root` is where `proc` and `sys` lie. Files that the kernel would drop count as free.
    """
    known = _numbers(root / "proc/meminfo")
    total, free = known["MemTotal"] * 1024, known["MemAvailable"] * 1024
    for limit, used in _group_limits(root):
        total, free = min(total, limit), min(free, max(0, limit - used))
    own = _numbers(root / "proc/self/status")["VmRSS"] * 1024
    return DeviceMemory(total=total, free=free, own=own)


def own_memory(device: torch.device) -> int:
    """Give the bytes that this process has on `device` now: no more than a look, no sync."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _numbers(Path("/proc/self/status"))["VmRSS"] * 1024


def peak_memory(device: torch.device) -> int:
    """Give the most bytes that this process has had on `device` at once."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def _group_limits(root: Path) -> Iterator[tuple[int, int]]:
    """Give limit and use in bytes of each control group that this process is in."""
    groups = root / "sys/fs/cgroup"
    for line in (root / "proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            names = ("memory.max", "memory.current", "inactive_file")
            yield from _limits_above(groups, path, names)
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _limits_above(groups / "memory", path, names)


def _limits_above(base: Path, path: str, names: tuple[str, str, str]) -> Iterator[tuple[int, int]]:
    """Give limit and use of the group at `path` and of all groups that it lies in.

    Inside a container the path may be that of another root; only what is there counts.
    """
    limit_name, used_name, droppable = names
    inside = PurePosixPath(path.lstrip("/"))
    for part in (inside, *inside.parents):
        folder = base / part
        if (folder / limit_name).is_file() and (folder / used_name).is_file():
            limit = (folder / limit_name).read_text(encoding="ascii").strip()
            used = int((folder / used_name).read_text(encoding="ascii"))
            if limit != "max":
                yield int(limit), used - _numbers(folder / "memory.stat").get(droppable, 0)


def _numbers(path: Path) -> dict[str, int]:
    """Read lines of a name and a number, as the kernel writes them."""
    text = os.fsdecode(path.read_bytes())
    return {name: int(value) for name, value in re.findall(r"^(\w+):?\s+(\d+)", text, re.MULTILINE)}
