"""How a call ended: it worked, or with one error for people; everything else is a defect."""

import io
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType

from hftune.cli.main import invoke
from hftune.errors import HftuneError

# Far above what any case takes, also on a machine that is busy with other things.
LIMIT_SECONDS = 60


class Hang(BaseException):
    """A call that does not come back. Caught by nobody's `except Exception`."""


@contextmanager
def no_hang(seconds: int = LIMIT_SECONDS) -> Iterator[None]:
    """Raise Hang in the main thread where the block has not ended after `seconds`."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang(f"still at work after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def error_of(call: Callable[[], object]) -> HftuneError | None:
    """Give the error for people that a call ended with, or None. Anything else comes through."""
    with no_hang():
        try:
            call()
        except HftuneError as error:
            assert_readable(str(error))
            return error
    return None


def assert_readable(text: str) -> None:
    """A message can be printed, is no page, and does not steer the terminal."""
    text.encode("utf-8")
    assert text.strip()
    assert len(text) < 20_000, f"{len(text)} characters"
    assert all(letter.isprintable() or letter in "\n\t" for letter in text), repr(text)


def type_in(*words: str) -> tuple[int, str, str]:
    """Type a command: its exit code, what it printed, what it said. A defect comes through."""
    out, err = io.StringIO(), io.StringIO()
    with no_hang(), redirect_stdout(out), redirect_stderr(err):
        code = invoke(list(words))
    printed, said = out.getvalue(), err.getvalue()
    assert "Traceback" not in said
    assert code in (0, 2, 3), f"code {code}: {said[-2000:]}"
    if code:
        assert said.strip(), words
    printed.encode("utf-8")
    said.encode("utf-8")
    return code, printed, said


def content_of(folder: Path) -> dict[str, bytes | None]:
    """Give every name below a folder with its content, to see what a call left behind."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
