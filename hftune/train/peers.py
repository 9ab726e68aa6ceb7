"""What the processes of a run leave word of to one another, and what follows from it."""

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass

from hftune.errors import HftuneError, LostProcessError, Stopped

# A note that stands still for so many looks at it is a dead or frozen process's.
SILENT_LOOKS = 20
# One that never was there, for so many, is of a process that will not come.
START_LOOKS = 300

_AGAIN = "the last checkpoint is kept; run the same command again"


@dataclass(frozen=True, kw_only=True)
class Note:
    """What a process says of itself: beats while it lives; an exit code and words once it left."""

    beats: int = 0
    code: int | None = None
    words: str = ""


class Patience:
    """Counts for how long each note has stood still, in looks at them.

    Looks are counted and not seconds: a machine that slept, or a process that was paused itself,
    must not take the others for dead when it wakes.
    """

    def __init__(self, ranks: Set[int]) -> None:
        self.ranks = ranks
        self._before: dict[int, Note] = {}
        self._still: Counter[int] = Counter()

    def look(self, notes: Mapping[int, Note]) -> frozenset[int]:
        """Give the processes that have been silent for too long, with this look."""
        for rank in self.ranks:
            same = notes.get(rank) == self._before.get(rank)
            self._still[rank] = self._still[rank] + 1 if same else 0
        self._before = dict(notes)
        return frozenset(rank for rank in self.ranks if self._is_silent(rank))

    def _is_silent(self, rank: int) -> bool:
        note = self._before.get(rank)
        if note is None:
            return self._still[rank] >= START_LOOKS
        return note.code is None and self._still[rank] >= SILENT_LOOKS


def find_cause(notes: Mapping[int, Note], silent: Set[int], *, size: int) -> HftuneError | None:
    """Give the error that ends a process for what became of the others; None where all is well.

    Who left with an error or after a stop comes first, for silence follows from it.
    """
    for rank, note in sorted(notes.items()):
        if note.code not in (None, 0, Stopped.exit_code):
            return _ended_by(rank, note, size)
    for rank, note in sorted(notes.items()):
        if note.code == Stopped.exit_code:
            return Stopped(
                f"process {rank} of {size} was stopped; what was complete by then is kept",
                remedy="run the same command again to go on",
            )
    return _silenced(min(silent), size, has_come=min(silent) in notes) if silent else None


def _ended_by(rank: int, note: Note, size: int) -> LostProcessError:
    error = LostProcessError(
        f"process {rank} of {size} ended with an error",
        found=note.words,
        remedy="see what it said itself; the last checkpoint is kept",
    )
    if note.code is not None and note.code > 0:
        error.exit_code = note.code
    return error


def _silenced(rank: int, size: int, *, has_come: bool) -> LostProcessError:
    if not has_come:
        return LostProcessError(f"process {rank} of {size} has not come", remedy=_AGAIN)
    return LostProcessError(
        f"process {rank} of {size} has fallen silent",
        found="it was killed or is frozen, or its machine cannot be reached",
        remedy=_AGAIN,
    )


def lost_store(found: str) -> LostProcessError:
    """Give the error of a process that cannot reach the others any more."""
    return LostProcessError(
        "the launcher of this run, or its first process, is gone", found=found, remedy=_AGAIN
    )


def lost_connection(found: str) -> LostProcessError:
    """Give the error of a process whose collective failed, and nobody said why."""
    return LostProcessError(
        "the connection to another process of this run was lost", found=found, remedy=_AGAIN
    )
