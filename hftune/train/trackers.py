"""Which trackers there are, asked of Accelerate, which passes over missing ones in silence."""

from collections.abc import Sequence

from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType

from hftune.errors import MissingPackageError, PlanError


def check_trackers(names: Sequence[str]) -> None:
    """Raise PlanError for an unknown tracker, MissingPackageError for one that is not installed."""
    known = [kind.value for kind in LoggerType if kind is not LoggerType.ALL]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise PlanError(
            "there is no such tracker",
            found=", ".join(unknown),
            allowed=", ".join(sorted(known)),
            where="track.trackers",
        )
    installed = [str(kind) for kind in get_available_trackers()]
    missing = [name for name in names if name not in installed]
    if missing:
        raise MissingPackageError(
            "a tracker that the recipe asks for is not installed",
            found=", ".join(missing),
            where="track.trackers",
            remedy=f"pip install {' '.join(missing)}; or train without: track.trackers=[]",
        )
