"""Worker processes that make things ahead of time, outlive stray signals and end with their user.

A signal for a run often reaches every process of its group. The trainer decides what it means, so
its workers take no notice; they end when the trainer closes them, or when it is gone.
"""

import contextlib
import gc
import math
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from hftune.errors import AbilityError, HftuneError
from hftune.stop_signals import held_back

Ask = TypeVar("Ask")
Made = TypeVar("Made")
ExceptHook = Callable[[type[BaseException], BaseException, TracebackType | None], object]

_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_MOST_WORKERS = 16
# To fork a worker beside a model in memory, and to end it, takes about 0.2 s of processor time.
_WORTH_SECONDS = 0.5


def enough_workers(seconds: float, *, on_spare_cores: bool = False) -> int:
    """Give the worker processes for `seconds` of work in one, as far as this machine has cores.

    A worker that would not be busy for long is not started. Each training process of this machine
    keeps a core to itself, or with `on_spare_cores` one for each thread that it computes with;
    beside a GPU, which computes without them, one worker is possible always.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # of this launch, on this machine
    on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch's own
    computing = torch.get_num_threads() if on_spare_cores and not on_gpu else 1
    most = max(1 if on_gpu else 0, available_cores() // processes - computing)
    return min(_MOST_WORKERS, most, int(seconds / _WORTH_SECONDS))


def available_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Count the cores that this process may use: affinity, cut down by a container's quota."""
    cores = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):  # no quota, or an older kernel's layout
        limit, period = quota.read_text().split()
        cores = min(cores, math.ceil(int(limit) / int(period)))
    return max(1, cores)


def produce(
    make: Callable[[Ask], Made], asks: Iterable[Ask], *, workers: int
) -> Generator[Made, None, None]:
    """Give `make(ask)` for every ask, in order, made ahead of time by `workers` processes.

    With 0 workers everything happens here, when it is asked for. Tensors in a list come in pinned
    memory where this process already uses a CUDA device. Closing the generator ends the workers.
    Raises what `make` raises where that is an HftuneError, and AbilityError for a lost worker or
    where shared memory has no room left.
    """
    with held_back(), _starting_workers():
        loader: DataLoader[Made | HftuneError] = DataLoader(
            _Made(make),
            sampler=asks,
            batch_size=None,
            num_workers=workers,
            collate_fn=_as_it_is,
            pin_memory=torch.cuda.is_initialized(),  # type: ignore[no-untyped-call]  # torch's own
            worker_init_fn=_settle_worker,
            multiprocessing_context="fork" if workers else None,
            generator=torch.Generator(),  # a loader draws a seed: not from the run's own stream
        )
        made = iter(loader)
    try:
        with lost_workers():
            for thing in made:
                if isinstance(thing, HftuneError):
                    raise thing
                yield thing
    finally:
        del made  # the last reference: joins the workers


class _Made(Dataset[Made | HftuneError], Generic[Ask, Made]):
    """Calls `make`; our own errors travel as values, because torch would change their text."""

    def __init__(self, make: Callable[[Ask], Made]) -> None:
        self.make = make

    def __getitem__(self, ask: Ask) -> Made | HftuneError:
        try:
            made = self.make(ask)
            if get_worker_info() is not None:
                _share(made)
        except HftuneError as error:
            return error
        return made


def _share(made: object) -> None:
    """Move the tensors of a list into shared memory, by which they reach the trainer.

    torch would do it while it sends them, in a thread that can only print what goes wrong; the
    trainer would then wait for ever. Raises AbilityError.
    """
    try:
        for item in made if isinstance(made, list) else ():
            if isinstance(item, torch.Tensor):
                item.share_memory_()  # type: ignore[no-untyped-call]  # torch's own
    except RuntimeError as error:
        raise AbilityError(
            "there is no room left in shared memory, by which loaded images reach the trainer",
            found=str(error).splitlines()[0],
            remedy="give the container more (--shm-size=8g, or --ipc=host), or lower data.workers"
            " or train.micro_batch_size; data.workers=0 needs none",
        ) from error


def _as_it_is(thing: Made) -> Made:
    """Keep torch from converting what was made."""
    return thing


@contextlib.contextmanager
def _starting_workers() -> Iterator[None]:
    """Hold signals back while workers are forked: they inherit this until they have settled."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_IGNORED, signal.SIGTERM})
    try:
        with warnings.catch_warnings():
            # Python 3.12 and newer warn of any fork beside threads; workers use none of ours.
            warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
            # torch warns of more workers than cores, which only a recipe can ask for.
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _settle_worker(worker_id: int) -> None:  # noqa: ARG001 - torch passes it
    """Ignore what is meant for the trainer; obey SIGTERM from the trainer alone."""
    gc.freeze()  # a collector that looks at what is shared with the trainer would copy its pages
    sys.excepthook = _unless_left(sys.excepthook)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED)
    # SIGTERM stays blocked: torch's handler would end the worker, and with it the run.
    threading.Thread(target=_obey, args=(os.getppid(),), daemon=True).start()


def _unless_left(hook: ExceptHook) -> ExceptHook:
    """Give `hook`, silent about a trainer that left while it took a batch.

    The thread by which tensors are handed over prints that, and goes on: no news for a user, who
    stopped or killed the trainer.
    """

    def quiet(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, ConnectionError | EOFError):
            hook(kind, error, trace)

    return quiet


def _obey(parent: int) -> None:
    while True:
        if signal.sigwaitinfo({signal.SIGTERM}).si_pid == parent:
            os._exit(0)


@contextlib.contextmanager
def lost_workers() -> Iterator[None]:
    """Turn torch's words about a worker that is gone into an error with a remedy.

    torch says it wherever the main thread is by then, not only while it waits for what is made.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise AbilityError(
            "a process that loads images ended before its work was done",
            found=str(error).splitlines()[0],
            remedy="most often memory ran out: give the machine (or the container: --shm-size=2g)"
            " more, or lower data.workers; data.workers=0 loads without such processes",
        ) from error
