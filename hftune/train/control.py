"""Stops and timed saving, agreed by all ranks so that no rank acts alone."""

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from hftune.core import RunPlan
from hftune.errors import HftuneError
from hftune.stop_signals import StopRequested, StopSignals, listening
from hftune.train.world import COLLECTIVE_LIMIT
from hftune.units import parse_duration

T = TypeVar("T")
logger = logging.getLogger(__name__)

# Kept free at the end of a time budget for the last step and the last checkpoint: this share of
# the budget, and no more than these seconds.
_RESERVE_SHARE = 0.05
_LONGEST_RESERVE = 120.0


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What all ranks do before the next step."""

    save: bool = False
    stop: bool = False


@dataclass(frozen=True, kw_only=True)
class Ready(Generic[T]):
    """What a rank has for the next step: `item`; or nothing, for a stop came or `error` did."""

    item: T | None = None
    error: HftuneError | None = None


class Control:
    """Watches for stop signals, the time budget and the clock while a run trains.

    A first signal asks for a checkpoint and an orderly end; the same one again ends at once.
    """

    def __init__(self, accelerator: Accelerator, plan: RunPlan) -> None:
        self.accelerator = accelerator
        self.plan = plan
        self.last_save = time.monotonic()
        self.saved_step: int | None = None
        self.is_stopping = False
        self.waited = 0.0  # seconds in which training waited for its data
        self._first_step: int | None = None
        self._has_moved = False
        budget = plan.recipe.train.time_budget
        self._budget = None if budget is None else _usable(parse_duration(budget))
        self._stack = contextlib.ExitStack()
        self._signals: StopSignals
        # Agreeing over the CPU leaves the device alone: no rank waits for its queue of work.
        self._group: torch.distributed.ProcessGroup | None = None

    def __enter__(self) -> Self:
        """Note stop signals from here on (collective)."""
        if self.accelerator.num_processes > 1 and self.accelerator.device.type != "cpu":
            group = torch.distributed.new_group(backend="gloo", timeout=COLLECTIVE_LIMIT)
            assert isinstance(group, torch.distributed.ProcessGroup)
            self._group = group
        self._signals = self._stack.enter_context(listening())
        self._stack.enter_context(self._signals.noting())
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        self._stack.close()
        if self._group is not None:
            torch.distributed.destroy_process_group(self._group)

    def wait_for(self, items: Iterator[T]) -> Ready[T]:
        """Give the next item, or say why there is none; a stop signal ends the waiting.

        Side effect: adds to `waited`.
        """
        before = time.monotonic()
        try:
            with self._signals.raising():
                return Ready(item=next(items))
        except StopRequested:
            return Ready()
        except HftuneError as error:
            return Ready(error=error)
        finally:
            self.waited += time.monotonic() - before

    def next_or_none(self, items: Iterator[T]) -> T | None:
        """Give the next item; None at their end, and where a stop signal ended the waiting."""
        try:
            with self._signals.raising():
                return next(items, None)
        except StopRequested:
            return None

    def agree(self, step: int, ready: Ready[T]) -> Wish:
        """Give the same wish on every rank after `step` steps (collective).

        Raises on every rank what made one of them unable to go on.
        """
        self._first_step = step if self._first_step is None else self._first_step
        self._has_moved = step != self._first_step
        every = self.plan.save_every
        by_step = every is not None and step % every == 0 and step != self.saved_step
        save, stop, failed = self._reduce(
            self._save_is_due(), self._stop_is_due(), ready.error is not None
        )
        if failed:
            raise self._first_error(ready.error)
        self.is_stopping = stop
        return Wish(save=save or stop or (by_step and step > 0), stop=stop)

    def agree_to_stop(self) -> bool:
        """Say whether any rank has to stop (collective); for use between steps."""
        (stop,) = self._reduce(self._stop_is_due())
        self.is_stopping = stop
        return stop

    def note_save(self, step: int) -> None:
        """Note that a checkpoint of `step` was committed just now."""
        self.saved_step = step
        self.last_save = time.monotonic()

    def _save_is_due(self) -> bool:
        seconds = self.plan.save_seconds
        if seconds is None or not self.accelerator.is_main_process:  # rank 0's clock decides
            return False
        return time.monotonic() - self.last_save >= seconds

    def _stop_is_due(self) -> bool:
        if self._signals.received is not None:
            return True
        if self._budget is None or not self.accelerator.is_main_process:
            return False
        if not self._has_moved:  # a budget too short for a step would never end otherwise
            return False
        if time.monotonic() - self._signals.started < self._budget:
            return False
        if not self.is_stopping:
            logger.info("train.time_budget %s is used up", self.plan.recipe.train.time_budget)
        return True

    def _reduce(self, *flags: bool) -> list[bool]:
        """Give each flag as true where it is on any rank (collective)."""
        if self.accelerator.num_processes == 1:
            return list(flags)
        device = "cpu" if self._group is not None else self.accelerator.device
        values = torch.tensor(flags, dtype=torch.int32, device=device)
        torch.distributed.all_reduce(
            values, op=torch.distributed.ReduceOp.MAX, group=self._group
        )  # collective
        return [bool(value) for value in values.tolist()]

    def _first_error(self, own: HftuneError | None) -> HftuneError:
        """Give the error of the lowest rank that has one (collective)."""
        found = [own] if self.accelerator.num_processes == 1 else gather_object([own])
        return next(error for error in found if error is not None)


def _usable(budget: float) -> float:
    """Give the seconds of a budget in which steps may begin."""
    return budget - min(_LONGEST_RESERVE, _RESERVE_SHARE * budget)
