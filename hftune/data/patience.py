"""Reading once more what the system could not give just now: a file server that hesitates."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Seconds before the second, third and fourth attempt.
_PAUSES = (0.05, 0.2, 0.5)
# What a system says for good: waiting does not make a missing file appear.
_FINAL = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
)
# After so many images in a row that stayed away, each is tried once until one comes again.
_MOST_IN_VAIN = 20


class Patience:
    """Tries what failed again, after short pauses, unless it seems that all is lost."""

    def __init__(self) -> None:
        self.in_vain = 0

    def read(self, attempt: Callable[[], T]) -> T:
        """Give what `attempt` gives; where the system fails it, ask a few times more.

        An error of the content, which has no number of the system's, is raised at once, as is
        what says for good that there is nothing to read.
        """
        for pause in _PAUSES if self.in_vain < _MOST_IN_VAIN else ():
            try:
                return self._note(attempt())
            except OSError as error:
                if not may_pass(error):
                    raise
            time.sleep(pause)
        try:
            return self._note(attempt())
        except OSError as error:
            self.in_vain += may_pass(error)
            raise

    def _note(self, result: T) -> T:
        self.in_vain = 0
        return result


def may_pass(error: BaseException | None) -> bool:
    """Say whether it is the system that fails, in a way that may be over in a while."""
    return isinstance(error, OSError) and error.errno is not None and error.errno not in _FINAL
