"""Logging set-up per rank; the only file that configures handlers. What it prints is no secret."""

import logging
import re
import sys
import threading
import traceback
from types import TracebackType
from typing import TextIO

# What stands for a secret, and how much of it may be shown. Tokens of the Hub, and those that a
# machine is given by OpenID Connect; whatever is sent as a token; user name and password in an
# address; the query of an address, which may sign it.
_SECRETS = (
    (re.compile(r"hf_[A-Za-z0-9]{10,}"), "hf_***"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+"), "***"),
    (re.compile(r"\b(Bearer|Basic) [^\s'\",;)]+", re.IGNORECASE), r"\1 ***"),
    (re.compile(r"(\w://)[^\s/?#@'\"]*@"), r"\1***@"),
    (re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]*"), r"\1"),
)

# Secrets that are known by themselves; shorter ones would blank out words.
_HIDDEN: set[str] = set()
_LEAST_HIDDEN = 8

QUIET = ("httpx", "httpx2", "httpcore", "urllib3", "filelock", "fsspec", "matplotlib", "PIL")


def configure(*, rank: int = 0, debug: bool = False) -> None:
    """Send hftune's records to stderr: rank 0 at INFO, others at WARNING, DEBUG when asked.

    Secrets are blanked out, also in what libraries log. Side effect: replaces the handlers of the
    root logger and the class of all records.
    """
    level = logging.DEBUG if debug else logging.INFO if rank == 0 else logging.WARNING
    handler = _Handler()
    prefix = "" if rank == 0 else f"[rank {rank}] "
    handler.setFormatter(_Formatter(prefix))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("hftune").setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Libraries that have handlers of their own print these records, too.
    logging.setLogRecordFactory(_Record)


def guard_tracebacks() -> None:
    """Blank out secrets in the tracebacks that end this process or one of its threads.

    Side effect: replaces the hooks of the interpreter.
    """
    sys.excepthook = _print_traceback
    threading.excepthook = _print_end_of_thread


def hide(secret: str) -> None:
    """Blank out this text from now on, whatever its form. Side effect: for the whole process."""
    if len(secret) >= _LEAST_HIDDEN:
        _HIDDEN.add(secret)


def without_secrets(text: str) -> str:
    """Blank out what `hide` was told and what has the form of a secret.

    That is: tokens, passwords and signatures in addresses.
    """
    for secret in tuple(_HIDDEN):  # another thread may add one
        text = text.replace(secret, "***")
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


def _print_traceback(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    sys.stderr.write(without_secrets("".join(traceback.format_exception(kind, error, trace))))


def _print_end_of_thread(end: threading.ExceptHookArgs) -> None:
    if end.exc_type is not SystemExit:
        _print_traceback(end.exc_type, end.exc_value, end.exc_traceback)


class _Record(logging.LogRecord):
    """A record whose message holds no secret."""

    def getMessage(self) -> str:  # noqa: N802  # the standard library's name
        return without_secrets(super().getMessage())


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at that moment: a live view of a run may stand in its place."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)  # the other one keeps the stream of now

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # an attribute that is never set
        """The stream of this moment."""
        return sys.stderr


class _Formatter(logging.Formatter):
    """Plain facts at INFO; the level's name in front of anything else."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return without_secrets(f"{self.prefix}{level}{text}")
