"""What a phase needs besides its session, the same for the whole run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hftune.core import Split
from hftune.train.best import BestOutputs
from hftune.train.control import Control
from hftune.train.evaluate import Judge
from hftune.train.guides import Guides
from hftune.train.mirror import Mirror
from hftune.train.tracking import Tracking


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The run's folder and splits, and what judges, steers, interrupts, reports and mirrors it.

    `mirror` is None on other ranks than 0, and where the recipe wants none. `gives_up` is None
    but for a run that is held against others: asked after each evaluation but the last, by every
    rank and with the same answer on all, it says whether the run ends there.
    """

    run: Path
    train: Split
    val: Split
    judge: Judge
    guides: Guides
    control: Control
    track: Tracking
    mirror: Mirror | None = None
    gives_up: Callable[[], bool] | None = None
    best: BestOutputs = field(default_factory=BestOutputs)
