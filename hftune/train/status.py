"""Where a run is, for whoever watches it: one snapshot, and the words for what it holds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from hftune.units import format_duration, format_size


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What the last report measured: `loss` is the mean since the one before.

    `rates` are the lowest and the highest of all parameter groups. `waiting` is the share 0..1 of
    the time. `memory` and `peak` are bytes that this process has and had, on its GPU if it has one.
    """

    loss: float
    rates: tuple[float, float]
    images_per_second: float
    waiting: float
    memory: int
    peak: int


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a run is. Times are in seconds; what is None is not known yet.

    `last` and `best` are values of `metric`, at the steps `last_step` and `best_step`. `epoch_left`
    and `left` say what an epoch and all steps still take. `doing` is empty while it trains.
    """

    run: str
    step: int
    total_steps: int
    steps_per_epoch: int
    phase: str
    metric: str
    doing: str = ""
    pace: Pace | None = None
    last: float | None = None
    last_step: int | None = None
    best: float | None = None
    best_step: int | None = None
    epoch_left: float | None = None
    left: float | None = None
    saved_step: int | None = None
    saved_ago: float | None = None
    skipped_steps: int = 0
    bad_images: int = 0


class View(Protocol):
    """Shows a run while it trains; called by rank 0, in the thread that trains."""

    def show(self, status: Status) -> None:
        """Take the newest status: at every step, so it has to be quick about it."""

    def close(self) -> None:
        """Give the screen back, whatever happened."""


_opener: ContextVar[Callable[[], View] | None] = ContextVar("hftune_view", default=None)


@contextmanager
def watched_by(opener: Callable[[], View]) -> Iterator[None]:
    """Have runs that train in the body shown by what `opener` gives, in place of plain lines."""
    token = _opener.set(opener)
    try:
        yield
    finally:
        _opener.reset(token)


def open_view() -> View | None:
    """Open the view of a run that begins to train; None where it is to write plain lines."""
    opener = _opener.get()
    return None if opener is None else opener()


def place_words(status: Status) -> list[str]:
    """Say where the run is, and how long it will take."""
    epochs = status.total_steps / status.steps_per_epoch
    words = [f"epoch {status.step / status.steps_per_epoch:.2f} of {epochs:.4g}"]
    if status.left is not None and status.epoch_left is not None:
        if status.left > status.epoch_left > 0:
            words.append(f"{format_duration(status.epoch_left)} left of it")
        words.append(f"{format_duration(status.left)} left")
    return [*words, status.doing or f"training {status.phase}"]


def learning_words(status: Status) -> list[str]:
    """Say what is learned: loss, learning rate and the metric that decides."""
    words = []
    if status.pace is not None:
        low, high = (f"{rate:.1e}" for rate in status.pace.rates)
        rates = low if low == high else f"{low} to {high}"
        words += [f"loss {status.pace.loss:.4f}", f"lr {rates}"]
    if (judged := _judged(status)) is not None:
        words.append(judged)
    return words


def _judged(status: Status) -> str | None:
    """Say what the metric was last and at best; after a resume only the latter is known."""
    if status.best is None:
        return None
    best = f"best {status.best:.4f} at step {status.best_step}"
    if status.last is None:
        return f"{status.metric} {best}"
    if status.best_step == status.last_step:
        best = "the best so far"
    return f"{status.metric} {status.last:.4f}, {best}"


def machine_words(status: Status) -> list[str]:
    """Say what the machine does: speed, waiting, memory and the last checkpoint."""
    words = []
    if status.pace is not None:
        pace = status.pace
        words += [
            f"{pace.images_per_second:.1f} images/s",
            f"waiting for data {pace.waiting:.0%}",
            f"memory {format_size(pace.memory)}, peak {format_size(pace.peak)}",
        ]
    if status.saved_step is not None and status.saved_ago is not None:
        ago = format_duration(status.saved_ago)
        words.append(f"checkpoint of step {status.saved_step}, {ago} ago")
    return words


def trouble_words(status: Status) -> list[str]:
    """Say what went wrong so far and was got over; nothing where all is well."""
    words = []
    if status.skipped_steps:
        words.append(f"fp16 steps skipped {status.skipped_steps}")
    if status.bad_images:
        words.append(f"bad images {status.bad_images}")
    return words


def plain_line(status: Status) -> str:
    """Say all of it in one line, for a log."""
    words = [f"step {status.step}/{status.total_steps}", *place_words(status)[:-1]]
    words += [*learning_words(status), *machine_words(status), *trouble_words(status)]
    return "  ".join(words)
