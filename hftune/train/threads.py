"""How many threads torch computes with in one process: the cores, divided by the processes.

Loader workers are not counted: what they decode in a step takes a small part of one core's time in
the same step, and a thread less would slow all of the step.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import torch

from hftune.data.workers import available_cores

_VARIABLE = "OMP_NUM_THREADS"
# What the launchers tell each process, besides.
_LAUNCHED = frozenset({"TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION"})


def settle_threads(processes: int, launcher_line: Sequence[str]) -> None:
    """Set the threads of this process, one of `processes` on this machine, unless somebody did.

    Side effect: torch's number of threads. It can change sums in their last bits, so it is a
    function of the machine alone, and environment.json holds it.
    """
    is_launchers = chosen_by_launcher(os.environ, _parents_environment(), launcher_line)
    if _VARIABLE in os.environ and not is_launchers:
        return
    share = share_of_cores(processes)
    torch.set_num_threads(share if is_launchers else min(share, torch.get_num_threads()))


def share_of_cores(processes: int) -> int:
    """Give the cores of one of `processes` on this machine, two threads of a core counted once."""
    physical = psutil.cpu_count(logical=False) or available_cores()
    return max(1, min(available_cores(), physical) // processes)


def chosen_by_launcher(
    environment: Mapping[str, str], parents: Mapping[str, str], launcher_line: Sequence[str]
) -> bool:
    """Say whether a launcher set the threads without being asked to.

    `torchrun` and `accelerate launch` set one thread for each process, however many cores there
    are. `parents` is the environment in which the launcher was started, {} where it is unknown.
    """
    if _VARIABLE not in environment or _LAUNCHED.isdisjoint(environment):
        return False
    is_asked = any("num_cpu_threads" in word.replace("-", "_") for word in launcher_line)
    return bool(parents) and _VARIABLE not in parents and not is_asked


def _parents_environment() -> dict[str, str]:
    """Give the environment in which the parent process was started, or {} where it is unknown."""
    entries: list[str] = []
    with contextlib.suppress(OSError):  # another user's, or gone, or no Linux
        content = Path(f"/proc/{os.getppid()}/environ").read_bytes()
        entries = content.decode(errors="replace").split("\0")
    return {name: value for name, _, value in (entry.partition("=") for entry in entries) if name}
