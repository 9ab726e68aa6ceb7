"""One process among the others: rank, device, barriers, precision; asked of Accelerate."""

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import (
    broadcast_object_list,
    gather_object,
    get_cpu_distributed_information,
)
from torch.distributed.rendezvous import rendezvous

from hftune.core import Precision
from hftune.errors import DeviceError, LostProcessError
from hftune.train.liveness import BEAT_SECONDS, watch_others
from hftune.train.threads import settle_threads

T = TypeVar("T")
logger = logging.getLogger(__name__)

# For all processes to start, and then for any of them in a collective: rank 0 may scan images for
# an hour. A process that is gone is noticed by the watch that they keep over one another.
_START_LIMIT = timedelta(minutes=10)
COLLECTIVE_LIMIT = timedelta(days=30)

_ACCELERATE_NAME: dict[Precision, str] = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


@dataclass(frozen=True, kw_only=True)
class World:
    """Where this process stands. `local_rank` counts within one machine."""

    rank: int
    size: int
    local_rank: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """True on the one process that writes files."""
        return self.rank == 0


def join_world(*, beat: float = BEAT_SECONDS) -> World:
    """Join the processes that the launcher started, or stand alone.

    Side effect: on the first call, initialises the process group and begins to watch the other
    processes, with one sign of life in `beat` seconds; sets torch's threads. Called by every rank.
    Raises DeviceError where a launcher's processes would not form one group, LostProcessError
    where one is missing.
    """
    meeting = _meet(beat)
    # Without this word Accelerate leaves each process of a CPU launch in a world of its own.
    state = PartialState(cpu=is_cpu_only(), **meeting)
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != state.num_processes:
        raise DeviceError(
            "the processes of this launch do not form one group",
            found=f"{started} processes were started, {state.num_processes} joined",
            remedy="start one process, or check the launcher's device settings",
        )
    line = _launcher_line()
    settle_threads(get_cpu_distributed_information().local_world_size, line)
    wanted = processes_wanted(line)
    if wanted > state.num_processes:
        logger.warning(
            "the launcher was asked for %d processes and started %d; on a CPU `accelerate launch` "
            "needs MPI for more. `torchrun --nproc-per-node %d -m hftune ...` does without",
            *(wanted, state.num_processes, wanted),
        )
    return World(
        rank=state.process_index,
        size=state.num_processes,
        local_rank=state.local_process_index,
        device=state.device,
    )


def _meet(beat: float) -> dict[str, object]:
    """Find the other processes; give what Accelerate makes the group of, {} where there is one."""
    started = get_cpu_distributed_information()  # reads the environment, on a GPU as well
    if started.world_size == 1 or torch.distributed.is_initialized():
        return {}
    rank, size = started.rank, started.world_size
    try:
        store, rank, size = next(rendezvous("env://", rank, size, timeout=_START_LIMIT))
    except (torch.distributed.DistError, ValueError) as error:  # not there; MASTER_ADDR not set
        raise LostProcessError(
            "the processes of this run did not find each other",
            found=str(error).partition("\n")[0],
            where=f"process {rank} of {size}, MASTER_ADDR {os.environ.get('MASTER_ADDR')}, "
            f"MASTER_PORT {os.environ.get('MASTER_PORT')}",
            remedy="see what the other processes say, then run the same command again",
        ) from error
    store.set_timeout(COLLECTIVE_LIMIT)
    watch_others(store, rank=rank, size=size, beat=beat)
    return {"store": store, "rank": rank, "world_size": size, "timeout": COLLECTIVE_LIMIT}


def is_cpu_only() -> bool:
    """Say whether this machine has nothing but CPUs to train on."""
    return not torch.accelerator.is_available()


def processes_wanted(line: Sequence[str]) -> int:
    """Give the number of processes that a launcher's command line asks for; 1 where it is silent.

    `accelerate launch --cpu --num_processes 2` starts one process and says nothing.
    """
    for position, word in enumerate(line):
        name, _, value = word.partition("=")
        if name.replace("-", "_") == "__num_processes":
            number = value or "".join(line[position + 1 : position + 2])
            return int(number) if number.isdecimal() else 1
    return 1


def _launcher_line() -> list[str]:
    """Give the words of the parent's command line, up to our own name; [] where it is unknown."""
    try:
        content = Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    except OSError:
        return []
    words = content.decode(errors="replace").split("\0")
    return words[: words.index("hftune")] if "hftune" in words else []


@contextlib.contextmanager
def first_on_machine() -> Iterator[None]:
    """Run the body on one process of each machine first, then on the others (collective)."""
    with PartialState().local_main_process_first():
        yield


def wait_for_all() -> None:
    """Wait until every rank is here (collective)."""
    PartialState().wait_for_everyone()


def all_agree(text: str) -> bool:
    """Say whether every rank gives the same text (collective)."""
    return len(set(gather_object([text]))) == 1


def from_first(value: T) -> T:
    """Give every rank what rank 0 has (collective)."""
    shared = [value]
    broadcast_object_list(shared)
    return shared[0]


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """Give the precision to train in; 'auto' takes the best that the device does well.

    Raises DeviceError for half precision on a device without it.
    """
    if wanted == "auto":
        return _best_precision(device)
    if wanted == "fp16" and device.type == "cpu":
        raise DeviceError(
            "fp16 is not possible on this device",
            found="train.precision: fp16 on the CPU",
            allowed="fp32 on a CPU; fp16 and bf16 on a GPU",
            remedy="set train.precision=auto (or fp32), or run on a machine with a GPU",
        )
    if wanted == "bf16" and not _does_bf16(device):
        raise DeviceError(
            "bf16 is not possible on this device",
            found=f"train.precision: bf16 on {device.type} without bf16 instructions",
            allowed="fp32 here" if device.type == "cpu" else "fp16 or fp32 here",
            remedy="set train.precision=auto",
        )
    names: dict[str, Precision] = {"fp32": "fp32", "bf16": "bf16", "fp16": "fp16"}
    return names[wanted]


def make_accelerator(precision: Precision) -> Accelerator:
    """Give an Accelerator in `precision`; the recipe wins over the launcher, which is said once.

    Side effect: resets Accelerate's shared state, so that one program may train several recipes.
    """
    name = _ACCELERATE_NAME[precision]
    stated = os.environ.get("ACCELERATE_MIXED_PRECISION", "")
    if stated not in ("", "no", name) and PartialState().is_main_process:
        logger.warning("the launcher asks for %s; the recipe's %s is used", stated, precision)
    steps = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    if steps not in ("", "1") and PartialState().is_main_process:
        logger.warning(
            "the launcher asks for %s accumulation steps; the recipe's batch_size and "
            "micro_batch_size are used",
            steps,
        )
    AcceleratorState._reset_state()  # keeps the process group; precision may differ per run
    ddp = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    return Accelerator(
        mixed_precision=name,
        gradient_accumulation_steps=1,
        cpu=is_cpu_only(),
        kwargs_handlers=[ddp],
    )


def _best_precision(device: torch.device) -> Precision:
    if device.type != "cuda":
        return "fp32"
    return "bf16" if _does_bf16(device) else "fp16"


def _does_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return False
