"""Importing what is large in less time."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_import() -> Iterator[None]:
    """Leave the garbage collector off while the body imports what is large.

    An import makes many objects and leaves none that are unreachable, so looking for those finds
    nothing, and takes a sixth of the time in which torch and timm load.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def set_aside_imported() -> None:
    """Let the garbage collector look no more at what there is by now, until the process ends.

    For commands that have just loaded what stays to their end: to go through all of it takes a
    third of a second each time, the first time as soon as the collector is on again.
    """
    gc.freeze()
    # Some extension modules (Triton's) report what is not collected at the end as leaked.
    atexit.register(gc.unfreeze)
