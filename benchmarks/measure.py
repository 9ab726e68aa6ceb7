"""One run of one peer in a process of its own: its seconds, what it told, its peak memory."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import psutil

from benchmarks.peers.task import MARK

_SAMPLE_SECONDS = 0.25
_MIB = 2**20
# A look at how pages are shared takes longer: only where the quick one is this much above the peak.
_WORTH_A_LOOK = 1.02


@dataclass(kw_only=True)
class Row:
    """What one run gave; None is what it did not tell. Seconds count from the command's start.

    `status` is 'done', 'stopped' when it was past its limit of time, or 'failed'. `part` says when
    and with which commit the command was given that this row comes from.
    """

    workload: str
    peer: str
    repeat: int
    part: str = ""
    status: str = "done"
    whole_seconds: float | None = None
    first_step_seconds: float | None = None
    reached_seconds: float | None = None
    training_seconds: float | None = None
    images_per_second: float | None = None
    judging_images_per_second: float | None = None
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    peak_mib: float | None = None
    gpu_peak_mib: float | None = None

    def to_json(self) -> str:
        """Give one line."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, kw_only=True)
class End:
    """When a run is ended from outside: at its first step, at an accuracy, or past a time."""

    at_first_step: bool = False
    accuracy: float | None = None
    seconds: float | None = None

    def has_come(self, row: Row) -> bool:
        """Say whether the run has shown what was wanted of it."""
        return row.reached_seconds is not None or (
            self.at_first_step and row.first_step_seconds is not None
        )


def measure(
    row: Row, command: Sequence[str], *, environment: Mapping[str, str], end: End, log: Path
) -> None:
    """Run `command` to its end, or to `end`, and fill `row`. What it prints is kept in `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, env=dict(environment), stdout=subprocess.PIPE, stderr=errors, text=True,
            start_new_session=True,
        )  # fmt: skip
        alarm = threading.Timer(end.seconds or threading.TIMEOUT_MAX, _late, (process, row))
        alarm.start()
        try:
            with PeakMemory(process.pid) as memory:
                _listen(process, row, started=started, end=end, log=errors)
            code = process.wait()
        finally:  # nothing that was started outlives an interrupted suite
            alarm.cancel()
            _kill(process)
    row.whole_seconds = None if end.has_come(row) else time.perf_counter() - started
    row.peak_mib, row.gpu_peak_mib = memory.peak_mib, memory.gpu_peak_mib
    if code != 0 and row.status == "done" and not end.has_come(row):
        row.status = "failed"


def _listen(
    process: subprocess.Popen[str], row: Row, *, started: float, end: End, log: TextIO
) -> None:
    """Take what a peer tells until it and all that it started are gone; end it where it is due."""
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if end.has_come(row):
                continue  # until nobody holds the pipe
            if not line.startswith(MARK):
                log.write(line)
                continue
            event = json.loads(line.removeprefix(MARK))
            note(row, event, seconds=time.perf_counter() - started, end=end)
            if end.has_come(row):
                _kill(process)


def note(row: Row, event: Mapping[str, object], *, seconds: float, end: End) -> None:
    """Put what a peer told into its row."""
    kind = event["event"]
    if kind == "first_step":
        row.first_step_seconds = seconds
    elif kind == "judged":
        row.accuracy, row.balanced_accuracy = event["accuracy"], event["balanced_accuracy"]
        if end.accuracy is not None and row.accuracy >= end.accuracy:
            row.reached_seconds = seconds
    elif kind == "trained":
        row.images_per_second, row.training_seconds = event["images_per_second"], event["seconds"]
    elif kind == "evaluated":
        row.judging_images_per_second = event["images_per_second"]


class PeakMemory:
    """Watches the memory of a process and all below it; pages that they share count once."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak_mib = 0.0
        self.gpu_peak_mib: float | None = None
        self.quick_peak = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        """Begin to watch."""
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop watching."""
        self.over.set()
        self.thread.join()

    def _watch(self) -> None:
        has_gpu = shutil.which("nvidia-smi") is not None
        while not self.over.wait(_SAMPLE_SECONDS):
            self._look()
            if has_gpu:
                self.gpu_peak_mib = max(self.gpu_peak_mib or 0.0, gpu_used_mib())

    def _look(self) -> None:
        try:
            root = psutil.Process(self.pid)
            family = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        quick = sum(_read(process, "rss") for process in family)
        if quick > self.quick_peak * _WORTH_A_LOOK:
            self.quick_peak = quick
            shared = sum(_read(process, "pss") for process in family)
            self.peak_mib = max(self.peak_mib, shared / _MIB)


def gpu_used_mib() -> float:
    """Give the memory in use on the first GPU, as its driver counts it."""
    asked = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", "0"]
    return float(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)


def _read(process: psutil.Process, kind: str) -> int:
    """Give the bytes of one process; none of one that has just ended."""
    try:
        facts = process.memory_info() if kind == "rss" else process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0
    return int(getattr(facts, kind))


def _late(process: subprocess.Popen[str], row: Row) -> None:
    row.status = "stopped"
    _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    """End a peer with all that it started, also in process groups of their own."""
    if process.poll() is None:
        below = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        for child in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
