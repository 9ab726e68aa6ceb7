"""Cores, memory, disk and shared memory, as far as this process may use them."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from hftune.cache_folders import cache_root
from hftune.doctor.finding import Finding, fine, note
from hftune.units import format_size

TOPIC = "machine"

_GIB = 2**30
# Below these a run of usual size is in danger: memory, a disk, and what loader workers share.
_MEMORY, _DISK, _SHARED = 4 * _GIB, 10 * _GIB, 1 * _GIB


def check_memory() -> Iterator[Finding]:
    """Look at cores, memory and the allocator. Loads torch."""
    from hftune.data.workers import available_cores  # loads torch, which may not be in order
    from hftune.train.allocator import find_machine
    from hftune.train.machine_memory import machine_memory

    memory = machine_memory()
    fact = f"{format_size(memory.total)} of memory, {format_size(memory.free)} free"
    yield fine(TOPIC, f"{available_cores()} cores for this process, {fact}")
    if memory.free < _MEMORY:
        remedy = "a smaller train.micro_batch_size, fewer data.workers, or end other programs"
        yield note(TOPIC, f"only {format_size(memory.free)} of memory are free", remedy)
    machine = find_machine()
    if machine.has_glibc and not machine.has_gpu and machine.jemalloc is None:
        yield note(
            TOPIC,
            "jemalloc is not installed; with it a CPU trains about 1.5 times as fast",
            "apt-get install libjemalloc2 (Debian, Ubuntu) or dnf install jemalloc (Fedora)",
        )


def check_disks(folder: Path, hub_cache: Path) -> Iterator[Finding]:
    """Look at the room where runs, caches and downloads lie, and in shared memory."""
    places = {"runs": folder, "caches": cache_root(), "downloads": hub_cache}
    disks: dict[int, list[str]] = {}
    rooms: dict[int, tuple[int, Path]] = {}
    for name, place in places.items():
        there = nearest(place)
        device = os.stat(there).st_dev  # noqa: PTH116  # one call
        disks.setdefault(device, []).append(f"{name} ({place})")
        rooms[device] = (shutil.disk_usage(there).free, there)
        if not os.access(there, os.W_OK):
            yield note(TOPIC, f"{name}: {place} cannot be written", "choose another folder")
    for device, names in disks.items():
        free = rooms[device][0]
        fact = f"{format_size(free)} free on disk for {', '.join(names)}"
        remedy = "'hftune cache clear', or HFTUNE_CACHE, HF_HOME and --output on a larger disk"
        yield note(TOPIC, fact, remedy) if free < _DISK else fine(TOPIC, fact)
    yield from check_shared(Path("/dev/shm"))


def check_shared(place: Path) -> Iterator[Finding]:
    """Look at the room by which loader workers hand over images."""
    if not place.is_dir():
        return
    size = shutil.disk_usage(place).total
    fact = f"{format_size(size)} of shared memory"
    if size < _SHARED:
        remedy = "start the container with --shm-size=2g or --ipc=host; data.workers=0 needs none"
        yield note(TOPIC, fact, remedy)
    else:
        yield fine(TOPIC, fact)


def nearest(place: Path) -> Path:
    """Give the folder itself, or the nearest one above it that exists."""
    place = place.absolute()
    while not place.is_dir():
        place = place.parent
    return place
