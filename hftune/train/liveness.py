"""Signs of life between the processes of a run, so that none waits for one that is gone.

A collective waits for as long as it takes: rank 0 may scan images for an hour. So every process
keeps a note in the store through which they found each other: how often its heart has beaten, or
how it left. A note that stands still, or a store that is gone, ends the others with a message.
Threads of their own do this, for the main thread may sit in a collective that never returns.
"""

import atexit
import contextlib
import hashlib
import json
import os
import platform
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from hftune import stop_signals
from hftune.errors import HftuneError, LostProcessError, Stopped
from hftune.train.peers import (
    SILENT_LOOKS,
    Note,
    Patience,
    find_cause,
    lost_connection,
    lost_store,
)

if TYPE_CHECKING:  # the command line imports this file, and must not wait for torch
    from torch.distributed.distributed_c10d import Store

BEAT_SECONDS = 2.0
# For a process to end by itself, and for a cause to become known, once another has gone wrong.
GRACE_BEATS = 3
# The same after a stop, which may leave a process something to finish.
STOP_GRACE_BEATS = 60
# How long who must not leave first waits for the others: after a stop, and who keeps the store.
TOGETHER_BEATS = 10
STORE_BEATS = 300


class Watch:
    """One process's part in the watch that all keep over one another. Made by `watch_others`."""

    def __init__(self, store: "Store", *, rank: int, size: int, beat: float) -> None:
        self.rank = rank
        self.size = size
        self.speaks = rank == 0
        self._beat = beat
        self._store = store.clone()  # a connection of its own: the group's may be waiting
        self._hosts = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        self._own = Note()
        self._notes: dict[int, Note] = {}
        self._silent: frozenset[int] = frozenset()
        self._trouble: str | None = None
        self._rounds = 0
        self._has_told = False
        self._leaving = threading.Lock()
        self._news = threading.Condition()
        self._wake = threading.Event()
        self._is_over = threading.Event()
        self._store.set(_key(rank), json.dumps(asdict(self._own)))
        self._talker = threading.Thread(target=self._talk, name="hftune-beat", daemon=True)
        self._talker.start()
        threading.Thread(target=self._judge, name="hftune-watch", daemon=True).start()

    def explain(self, error: RuntimeError) -> HftuneError:
        """Give what lies behind a collective that failed, once the cause is known or late."""
        with self._news:
            self._news.wait_for(self._cause, timeout=GRACE_BEATS * self._beat)
        return self._cause() or lost_connection(str(error).partition(". ")[0])

    def leave(self, code: int, error: BaseException | None = None) -> bool:
        """Tell the others how this process ends; False where that was told already."""
        with self._leaving:
            if self._own.code is not None:
                return False
            self._own = Note(code=code, words=_first_line(error))
        if error is not None:
            self.speaks = self._is_first_to_say(error)
        self._wake.set()
        with self._news:
            self._news.wait_for(self._is_told, timeout=SILENT_LOOKS * self._beat)
        return True

    def part(self) -> None:
        """Wait for the others where ending first would harm them, and end the watch.

        Who keeps the store must be the last. After a stop, a launcher that sees one process end
        gives the rest half a minute.
        """
        with self._news:
            if self._own.code == Stopped.exit_code:
                self._news.wait_for(self._is_alone, timeout=TOGETHER_BEATS * self._beat)
            elif self._hosts:
                self._news.wait_for(self._is_alone, timeout=STORE_BEATS * self._beat)
        self._is_over.set()
        self._wake.set()
        self._talker.join(timeout=self._beat)  # it must not be inside torch when Python ends

    def end(self) -> None:
        """Leave at the interpreter's end, where nobody said how, and part."""
        self.leave(1 if getattr(sys, "last_value", None) is not None else 0)
        self.part()

    def _cause(self) -> HftuneError | None:
        """Give the error that ends this process for what became of the others; None if all is well.

        Silence and a lost store follow from an error or a stop, so those come first.
        """
        found = find_cause(self._notes, self._silent, size=self.size)
        if found is None and self._trouble is not None:
            return lost_store(self._trouble)
        return found

    def _is_told(self) -> bool:
        return self._has_told or self._trouble is not None

    def _is_alone(self) -> bool:
        left = {rank for rank, note in self._notes.items() if note.code is not None}
        return self._trouble is not None or left | self._silent >= set(range(self.size))

    def _is_first_to_say(self, error: BaseException) -> bool:
        """Say whether no other process has said the same; each machine hears of a lost one."""
        if self._trouble is not None:
            return True
        place = platform.node() if isinstance(error, LostProcessError) else ""
        digest = hashlib.sha256(f"{place} {error}".encode()).hexdigest()
        try:
            return self._store.add(f"hftune/said/{digest}", 1) == 1
        except RuntimeError:  # the store is gone
            return True

    def _talk(self) -> None:
        """Tell and hear, once a beat, until the end; runs in a thread of its own."""
        while self._trouble is None and not self._is_over.is_set():
            try:
                self._exchange()
            except RuntimeError as error:  # whatever the store's connection raises
                self._trouble = _first_line(error)
            with self._news:
                self._news.notify_all()
            # Who leaves waits for the others' words.
            self._wake.wait(self._beat if self._own.code is None else self._beat / 10)
            self._wake.clear()

    def _exchange(self) -> None:
        own = self._own if self._own.code is not None else replace(self._own, beats=self._rounds)
        self._store.set(_key(self.rank), json.dumps(asdict(own)))
        # Asking for a note that is not there yet would block.
        ranks = [r for r in range(self.size) if r in self._notes or self._store.check([_key(r)])]
        values = self._store.multi_get([_key(rank) for rank in ranks])
        self._notes = {
            rank: Note(**json.loads(value)) for rank, value in zip(ranks, values, strict=True)
        }
        self._has_told = own.code is not None
        self._rounds += 1

    def _judge(self) -> None:
        """End this process when another is gone; runs in a thread of its own."""
        patience = Patience(frozenset(range(self.size)) - {self.rank})
        rounds, hung, waited = 0, 0, 0
        while not self._is_over.wait(self._beat):
            if self._rounds > rounds:
                rounds, hung = self._rounds, 0
                self._silent = patience.look(self._notes)
            else:
                hung += 1
            if hung >= SILENT_LOOKS and self._trouble is None:
                self._trouble = f"no answer for {hung * self._beat:g} s"
            with self._news:
                self._news.notify_all()
            cause = self._cause()
            waited = 0 if cause is None else waited + 1
            grace = STOP_GRACE_BEATS if isinstance(cause, Stopped) else GRACE_BEATS
            if cause is not None and waited > grace:
                self._end(cause)

    def _end(self, cause: HftuneError) -> None:
        """End this process from outside its main thread, unless that is about to end it."""
        if self.leave(cause.exit_code, cause):
            if self.speaks:
                word = "stopped" if isinstance(cause, Stopped) else "error"
                sys.stderr.write(f"{word}: {cause}\n")
            stop_signals.leave(cause.exit_code)


_watch: Watch | None = None


def watch_others(store: "Store", *, rank: int, size: int, beat: float = BEAT_SECONDS) -> None:
    """Begin to watch the other processes of this run, and to be watched by them.

    Side effect: starts two daemon threads, which end this process when another is gone.
    """
    global _watch
    _watch = Watch(store, rank=rank, size=size, beat=beat)
    atexit.register(_watch.end)


def speaks() -> bool:
    """Say whether this process prints how the run ended, so that each error is told once."""
    if _watch is None:
        return os.environ.get("RANK", "0") == "0"
    return _watch.speaks


def part() -> None:
    """Wait for the others where ending first would harm them; for an end without `atexit`."""
    if _watch is not None:
        _watch.part()


@contextlib.contextmanager
def lost_processes() -> Iterator[None]:
    """Tell the other processes how the body ended; name the process behind a broken collective.

    Raises LostProcessError, or Stopped where the other was stopped, in place of the RuntimeError
    of the collective. With one process nothing is done.
    """
    try:
        yield
    except RuntimeError as error:
        if _watch is None or not _is_of_collective(error):
            _leave(error)
            raise
        explained = _watch.explain(error)
        _leave(explained)
        raise explained from error
    except BaseException as error:
        _leave(error)
        raise
    if _watch is not None:
        _watch.leave(0)


def _leave(error: BaseException) -> None:
    if _watch is not None:
        _watch.leave(_exit_code(error), error)


def _exit_code(error: BaseException) -> int:
    """Give the code with which the command line will end; its parser's errors carry theirs."""
    if isinstance(error, stop_signals.StopRequested):
        return Stopped.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return int(getattr(error, "exit_code", 1))


def _is_of_collective(error: RuntimeError) -> bool:
    from torch.distributed import DistError  # loaded already where processes are many

    return isinstance(error, DistError) or "gloo/transport" in str(error)


def _first_line(error: BaseException | None) -> str:
    if error is None:
        return ""
    text = str(error).strip().partition("\n")[0]
    return text if isinstance(error, HftuneError) else f"{type(error).__name__}: {text}"


def _key(rank: int) -> str:
    return f"hftune/alive/{rank}"
