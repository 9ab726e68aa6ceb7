"""A forward and backward pass that leaves no trace in a session."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from hftune.model.as_it_was import as_it_was

if TYPE_CHECKING:
    from hftune.train.session import Session


def untouched(session: "Session") -> AbstractContextManager[None]:
    """Put back modes, buffers and random state of a session's module after the body."""
    return as_it_was(session.module, session.accelerator.device)
