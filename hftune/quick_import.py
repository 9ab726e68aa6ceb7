"""Importing what is large in less time."""

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
