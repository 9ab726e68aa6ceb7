"""The live view of a run in a terminal: a few lines that stay below everything else printed."""

import io
import os
import sys
import time
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hftune.train.status import (
    Status,
    learning_words,
    machine_words,
    place_words,
    trouble_words,
)

# Seconds between two drawings.
_EVERY = 0.25
_GAP = "  "


class LiveView:
    """Draws a run's status on stderr, at most four times a second.

    What anything else writes to stderr meanwhile comes above it, as it is. No thread draws: worker
    processes are forked off while a run trains. The cursor stays shown, so that a process which is
    killed leaves the terminal as it found it.
    """

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr, highlight=False)
        self._live = Live(
            console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._above = Above(self._console)
        self._status: Status | None = None
        self._drawn_at = float("-inf")
        self._live.start()
        self._console.show_cursor(True)
        sys.stderr = self._above

    def show(self, status: Status) -> None:
        """Draw `status`, unless something was drawn just now."""
        is_same = self._status is not None and bool(self._status.doing) == bool(status.doing)
        self._status = status
        now = time.monotonic()
        if not is_same or now - self._drawn_at >= _EVERY:
            self._drawn_at = now
            self._live.update(drawing(status, width=self._console.width), refresh=True)

    def close(self) -> None:
        """Leave the newest status on the screen, and put stderr back."""
        self._above.end_line()
        sys.stderr = self._above.stream
        if self._status is not None:
            self._live.update(drawing(self._status, width=self._console.width))
        self._live.stop()


class Above(io.TextIOBase):
    """Stands in for the stderr that a live view draws on: whole lines come above the view.

    A worker process, which has a copy of it, writes to the stream itself.
    """

    def __init__(self, console: Console) -> None:
        self.stream = sys.stderr
        self._console = console
        self._line = ""
        self._process = os.getpid()

    def write(self, text: str) -> int:
        """Print what completes a line; keep the rest until its line is complete."""
        if os.getpid() != self._process:
            return self.stream.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            # As Text, for nothing in it is markup; soft-wrapped, for a line stays one line.
            self._console.print(Text.from_ansi(line), soft_wrap=True)
        return len(text)

    def end_line(self) -> None:
        """Print what is left of a line that was not completed."""
        if self._line:
            self.write("\n")

    def flush(self) -> None:
        """Flush the stream; the start of a line stays here."""
        self.stream.flush()

    def isatty(self) -> bool:
        """Say what the stream says."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """Give the stream's number."""
        return self.stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # an attribute that is never set
        """Name the stream's encoding."""
        return self.stream.encoding


def drawing(status: Status, *, width: int) -> Group:
    """Give the picture of a status: a bar, then facts, as many to a line as `width` allows."""
    name = Text(status.run, style="bold")
    name.truncate(width // 3, overflow="ellipsis")
    bar = Table.grid(padding=(0, 2), expand=True)
    bar.add_column(no_wrap=True)
    bar.add_column(no_wrap=True)
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True)
    bar.add_row(
        name,
        f"step {status.step}/{status.total_steps}",
        ProgressBar(total=status.total_steps, completed=status.step),
        f"{100 * status.step // status.total_steps}%",
    )
    return Group(
        bar,
        *_lines(place_words(status), width),
        *_lines(learning_words(status), width, style="bold"),
        *_lines(machine_words(status), width),
        *_lines(trouble_words(status), width, style="yellow"),
    )


def _lines(words: Sequence[str], width: int, *, style: str = "") -> list[Text]:
    """Set words side by side; one that does not fit any more begins a line."""
    lines: list[str] = []
    for word in words:
        if lines and cell_len(lines[-1] + _GAP + word) <= width:
            lines[-1] += _GAP + word
        else:
            lines.append(word)
    return [Text(line, style=style, no_wrap=True, overflow="ellipsis") for line in lines]
