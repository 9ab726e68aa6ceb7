"""Stop signals and timed saving, agreed by all ranks so that no rank acts alone."""

import logging
import signal
import time
from dataclasses import dataclass
from types import FrameType
from typing import Self

import torch
from accelerate import Accelerator

from hftune.core import RunPlan

logger = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# On a GPU reading the answer is a host-device sync; a stop may wait this many steps.
_AGREE_EVERY_ON_GPU = 10


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What all ranks do after this step."""

    save: bool = False
    stop: bool = False


class Control:
    """Listens for stop signals and watches the clock while a run trains.

    A first signal asks for a checkpoint and an orderly end; a second one ends at once.
    """

    def __init__(self, accelerator: Accelerator, plan: RunPlan) -> None:
        self.accelerator = accelerator
        self.plan = plan
        self.agree_every = _AGREE_EVERY_ON_GPU if accelerator.device.type == "cuda" else 1
        self.stop_signal: signal.Signals | None = None
        self.last_save = time.monotonic()
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        """Take over the stop signals; only possible, and only done, in the main thread."""
        try:
            for number in STOP_SIGNALS:
                self._previous[number] = signal.signal(number, self._on_signal)
        except ValueError:  # not the main thread: whoever embeds us handles signals
            self._previous.clear()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave us

    def agree(self, step: int) -> Wish:
        """Give the same wish on every rank after `step` steps (collective at agreed steps)."""
        if step % self.agree_every and step < self.plan.total_steps:
            return Wish()
        every = self.plan.save_every
        by_step = every is not None and step % every == 0
        save, stop = self._reduce(save=self._save_is_due(), stop=self.stop_signal is not None)
        wish = Wish(save=save or stop or by_step, stop=stop)
        if wish.save:
            self.last_save = time.monotonic()
        return wish

    def agree_to_stop(self) -> bool:
        """Say whether any rank was asked to stop (collective); for use between steps."""
        return self._reduce(save=False, stop=self.stop_signal is not None)[1]

    def _save_is_due(self) -> bool:
        seconds = self.plan.save_seconds
        if seconds is None or not self.accelerator.is_main_process:  # rank 0's clock decides
            return False
        return time.monotonic() - self.last_save >= seconds

    def _reduce(self, *, save: bool, stop: bool) -> tuple[bool, bool]:
        if self.accelerator.num_processes == 1:
            return save, stop
        flags = torch.tensor([save, stop], dtype=torch.int32, device=self.accelerator.device)
        torch.distributed.all_reduce(flags, op=torch.distributed.ReduceOp.MAX)  # collective
        return bool(flags[0]), bool(flags[1])  # host-device sync

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        received = signal.Signals(number)
        if self.stop_signal is not None and received != self.stop_signal:
            pass  # launchers forward several kinds for one request
        elif self.stop_signal is not None:
            signal.signal(received, signal.SIG_DFL)
            signal.raise_signal(received)
        self.stop_signal = self.stop_signal or received
