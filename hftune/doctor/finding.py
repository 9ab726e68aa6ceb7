"""What the doctor says about one thing."""

from dataclasses import dataclass
from typing import Literal

State = Literal["fine", "note", "fault"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One fact about the place of a run. A `note` is worth knowing; a `fault` stops a run.

    `remedy` is what to do about it, '' where nothing has to be done.
    """

    topic: str
    state: State
    fact: str
    remedy: str = ""


def fine(topic: str, fact: str) -> Finding:
    """Give a fact that needs nothing."""
    return Finding(topic=topic, state="fine", fact=fact)


def note(topic: str, fact: str, remedy: str) -> Finding:
    """Give a fact that costs speed or comfort, or may stop some runs."""
    return Finding(topic=topic, state="note", fact=fact, remedy=remedy)


def fault(topic: str, fact: str, remedy: str) -> Finding:
    """Give a fact that stops a run."""
    return Finding(topic=topic, state="fault", fact=fact, remedy=remedy)
