"""Accelerate's own launcher in this process: stops are passed on, the workers' exit code is kept.

By itself the launcher ends with code 1 and a traceback whatever the workers ended with; it gives
them half a minute after a SIGTERM, and passes nothing on to a single process.
"""

import contextlib
import logging
import os
import signal
import subprocess
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil
import torch
from accelerate.commands.config import default_config_file
from accelerate.commands.launch import launch_command, launch_command_parser
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError

from hftune.errors import DeviceError, LostProcessError, RequestError

# A worker takes signals of different kinds for one request, and the same kind again for "leave at
# once". Terminals and schedulers may have sent their kind to the workers as well, and the launcher
# sends SIGTERM to those that are left when one has ended: so another kind is passed on.
_PASSED_AS = {
    signal.SIGTERM: signal.SIGUSR1,
    signal.SIGINT: signal.SIGUSR1,
    signal.SIGUSR1: signal.SIGINT,
}
_MODES = ("tpu", "use_deepspeed", "use_fsdp", "use_megatron_lm")


def read_launch(words: Sequence[str]) -> Namespace:
    """Read `[options of accelerate launch] VERB ...`; what is left open is chosen.

    Raises RequestError for what Accelerate's parser does not take.
    """
    parser = launch_command_parser()
    parser.error = _refuse
    options: Namespace = parser.parse_args(["--module", *words])
    options.training_script_args = [options.training_script, *options.training_script_args]
    options.training_script = "hftune"
    _choose(options)
    return options


def launch(options: Namespace) -> int:
    """Start the processes, wait for them and give the exit code of the first that failed, or 0.

    Raises LostProcessError where a signal that nobody sent through this launcher ended one.
    """
    # What a lost connection means is said by the processes; torch would add its C++ frames.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with _passing_on_stops() as stops:
        try:
            launch_command(options)
        except subprocess.CalledProcessError as error:  # one process
            return _exit_code(error.returncode, rank=0, stops=stops)
        except ChildFailedError as error:  # the first to be found comes first
            rank, failure = next(iter(error.failures.items()))
            return _exit_code(failure.exitcode, rank=rank, stops=stops)
        except SignalException as error:
            return 128 + error.sigval
        except ValueError as error:  # options that do not go together
            _refuse(str(error))
        except (RendezvousError, torch.distributed.DistError, ConnectionError) as error:
            raise LostProcessError(
                "the launchers of this run did not find each other",
                found=str(error).partition("\n")[0],
                remedy="check --main_process_ip, --main_process_port and --machine_rank",
            ) from error
    return 0


def _refuse(message: str) -> NoReturn:
    raise RequestError(
        message.replace("training_script, training_script_args", "VERB"),
        allowed="hftune launch [OPTIONS OF accelerate launch] VERB ...",
        remedy="see the options with: accelerate launch --help",
    )


def _choose(options: Namespace) -> None:
    """Fill in what was left open. A file of `accelerate config` is left to Accelerate."""
    options.mixed_precision = options.mixed_precision or "no"  # the recipe's business
    options.dynamo_backend = options.dynamo_backend or "no"
    options.quiet = False  # the exit code of a single process would be lost
    options.signals_to_handle = "SIGQUIT"  # the others are passed on by us
    if options.config_file is None and not Path(default_config_file).is_file():
        _choose_places(options)
    if not torch.accelerator.is_available():
        options.cpu = False  # with it, Accelerate starts one process, whatever was asked for
    if not any(getattr(options, mode) for mode in _MODES):
        options.multi_gpu = (options.num_processes or 1) > 1  # its word for several processes


def _choose_places(options: Namespace) -> None:
    devices = torch.accelerator.device_count()
    options.num_machines = options.num_machines or 1
    options.num_processes = options.num_processes or max(1, devices) * options.num_machines
    here = max(1, options.num_processes // options.num_machines)
    if 0 < devices < here:
        raise DeviceError(
            "this machine has fewer devices than processes",
            found=f"{here} processes for {devices}",
            remedy=f"start with --num_processes {devices * options.num_machines}",
        )
    if options.num_cpu_threads_per_process is None and "OMP_NUM_THREADS" not in os.environ:
        options.num_cpu_threads_per_process = max(1, torch.get_num_threads() // here)
    if options.num_machines == 1 and options.main_process_port is None:
        options.main_process_port = 0  # any that is free, so that runs may share a machine


class _Stops:
    """What became of stop signals while the launcher waits for its processes."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def pass_on(self, number: int, _: FrameType | None) -> None:
        """Send the stop to every process that was started; end where there is none yet."""
        received = signal.Signals(number)
        self.received = self.received or received
        workers = psutil.Process().children()
        if not workers:
            raise SystemExit(128 + number)
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, _PASSED_AS[received])


@contextlib.contextmanager
def _passing_on_stops() -> Iterator[_Stops]:
    """Pass stop signals on, and keep the launcher's own account of an end off the screen."""
    stops = _Stops()
    previous = {number: signal.signal(number, stops.pass_on) for number in _PASSED_AS}
    log = logging.getLogger("torch.distributed.elastic")
    propagates, log.propagate = log.propagate, False
    silence = logging.NullHandler()
    log.addHandler(silence)
    try:
        yield stops
    finally:
        log.removeHandler(silence)
        log.propagate = propagates
        for number, handler in previous.items():
            signal.signal(number, handler)


def _exit_code(code: int, *, rank: int, stops: _Stops) -> int:
    """Give the exit code for a process that ended with `code`, below 0 for the signal's number."""
    if code >= 0:
        return code
    ended_by = signal.Signals(-code)
    if stops.received is not None and ended_by in _PASSED_AS:
        return 128 + stops.received  # before there was anything to keep
    raise LostProcessError(
        f"process {rank} of this run was ended by {ended_by.name}",
        found="the system may have ended it because memory ran out; see its log"
        if ended_by == signal.SIGKILL
        else None,
        remedy="the last checkpoint is kept; run the same command again",
    )
