"""Stop signals of a whole process: noted where work must be saved first, raised everywhere else.

SIGTERM, SIGINT and SIGUSR1 ask a process to stop. While a run trains the request is only noted, and
the loop acts on it. Everywhere else (a download, a scan, a push) nothing would be lost by leaving,
so the request is raised in the main thread at once. Should that not end the process within
`LEAVE_SECONDS`, because the main thread sits in a call that does not return, it is ended from
outside. The same signal again, later than `ECHO_SECONDS`, ends the process at once.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from hftune.errors import Stopped

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# Launchers and schedulers send one request several times within moments: to each process, then
# again from parent to child.
ECHO_SECONDS = 1.0
# Schedulers commonly wait 30 s between asking and killing.
LEAVE_SECONDS = 10.0
_AGAIN_SECONDS = 0.05


class StopRequested(BaseException):
    """A stop was asked for where nothing is lost by leaving at once.

    Not an Exception, so that no library's `except Exception` keeps the process.
    """

    def __init__(self, received: signal.Signals) -> None:
        super().__init__(received.name)
        self.received = received


class StopSignals:
    """The stop signals of this process while they are listened to. Made by `listening`."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.received: signal.Signals | None = None
        self._received_at = 0.0
        self._is_noting = False
        self._is_swallowed = False
        self._is_over = threading.Event()
        self._previous: dict[signal.Signals, object] = {}
        self._previous_fd = -1
        self._previous_hook = sys.unraisablehook
        self._pipe: tuple[int, int] | None = None

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Only note a signal while the body runs; whoever runs it acts on `received`."""
        before, self._is_noting = self._is_noting, True
        try:
            yield
        finally:
            self._is_noting = before

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """Raise StopRequested within the body, also for a signal that was noted before it."""
        before, self._is_noting = self._is_noting, False
        try:
            self.raise_if_received()
            yield
        finally:
            self._is_noting = before

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Note a signal while the body runs; afterwards raise it where it would have been."""
        was_noting = self._is_noting
        with self.noting():
            yield
        if not was_noting:
            self.raise_if_received()

    def raise_if_received(self) -> None:
        """Raise StopRequested where a signal came."""
        if self.received is not None:
            raise StopRequested(self.received)

    def take_over(self) -> None:
        """Listen from now on. Only possible in the main thread; raises ValueError elsewhere."""
        for number in STOP_SIGNALS:
            self._previous[number] = signal.signal(number, self._on_signal)
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        self._pipe = (reader, writer)
        self._previous_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(reader,), daemon=True).start()
        self._previous_hook, sys.unraisablehook = sys.unraisablehook, self._on_unraisable

    def give_back(self) -> None:
        """Stop listening, and put back what was there before."""
        self._is_over.set()
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave us
        if self._pipe is not None:
            sys.unraisablehook = self._previous_hook
            signal.set_wakeup_fd(self._previous_fd)
            os.close(self._pipe[1])  # ends the watching thread

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        """Note the signal, or raise; Python calls this in the main thread, between two steps."""
        now, received = time.monotonic(), signal.Signals(number)
        if self.received is None:
            self.received, self._received_at = received, now
        elif self._is_swallowed:
            self._is_swallowed = False
        elif received == self.received and now - self._received_at >= ECHO_SECONDS:
            signal.signal(received, signal.SIG_DFL)
            signal.raise_signal(received)
        elif not self._is_noting:
            return  # an echo of what is being raised already
        if not self._is_noting:
            raise StopRequested(self.received)

    def _on_unraisable(self, what: "sys.UnraisableHookArgs") -> None:
        """Ask again where the request was raised in a finalizer, which nothing can leave."""
        if self.received is None or not isinstance(what.exc_value, StopRequested):
            self._previous_hook(what)
            return
        self._is_swallowed = True
        again = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), self.received))
        again.daemon = True
        again.start()

    def _watch(self, reader: int) -> None:
        """End a process that was asked to stop, has nothing to save, and does not come to it.

        The operating system's handler writes to the pipe at once, whatever the main thread does.
        """
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            while content := pipe.read(1):
                if content[0] not in STOP_SIGNALS or self._is_over.wait(LEAVE_SECONDS):
                    continue
                if not self._is_noting:
                    leave(Stopped.exit_code)


_active: StopSignals | None = None


@contextlib.contextmanager
def listening() -> Iterator[StopSignals]:
    """Listen to the stop signals while the body runs; within another listening that one goes on.

    Outside the main thread nothing can be listened to: whoever embeds us handles signals there.
    """
    global _active
    if _active is not None:
        yield _active
        return
    signals = StopSignals()
    with contextlib.suppress(ValueError):
        signals.take_over()
    _active = signals
    try:
        yield signals
    finally:
        _active = None
        signals.give_back()


def raise_if_stopped() -> None:
    """Raise StopRequested where a stop was asked for and only noted so far."""
    if _active is not None:
        _active.raise_if_received()


def held_back() -> contextlib.AbstractContextManager[None]:
    """Give a context that no stop signal leaves half done; one that came is raised after it.

    For what breaks when it is left in the middle, and takes moments. Blocking the signal would not
    do: the system hands it to another thread, and Python calls the handler in the main one.
    """
    return contextlib.nullcontext() if _active is None else _active.held_back()


def leave(code: int) -> None:
    """End this process now, with what was printed so far shown; threads are not waited for."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a reader that went away
            stream.flush()
    os._exit(code)
