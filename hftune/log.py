"""Logging set-up per rank; the only file that configures handlers."""

import logging
import sys

QUIET = ("httpx", "httpx2", "httpcore", "urllib3", "filelock", "fsspec", "matplotlib", "PIL")


def configure(*, rank: int = 0, debug: bool = False) -> None:
    """Send hftune's records to stderr: rank 0 at INFO, others at WARNING, DEBUG when asked.

    Side effect: replaces the handlers of the root logger.
    """
    level = logging.DEBUG if debug else logging.INFO if rank == 0 else logging.WARNING
    handler = logging.StreamHandler(sys.stderr)
    prefix = "" if rank == 0 else f"[rank {rank}] "
    handler.setFormatter(_Formatter(prefix))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("hftune").setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


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
        return f"{self.prefix}{level}{text}"
