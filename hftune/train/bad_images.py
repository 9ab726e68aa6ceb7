"""Images that cannot be read: named in the log once each, and listed in the run under quarantine.

The list is `quarantine.jsonl`: one image a line, its name, its split and why it cannot be read.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import gather_object

from hftune.core import BadImage, Batch, Split
from hftune.data.substitute import OnBadImage, bad_images_error
from hftune.files import write_text

logger = logging.getLogger(__name__)

QUARANTINE_FILE = "quarantine.jsonl"
# Further images are counted and, under quarantine, listed.
_MOST_NAMED = 50


class BadImages:
    """What a run, or an evaluation outside of one (`run` is None), met of bad images so far.

    `waiting` are this rank's since the last report, one for each place in a batch.
    """

    def __init__(self, on_bad_image: OnBadImage, run: Path | None = None) -> None:
        self.on_bad_image = on_bad_image
        self.run = run
        self.waiting: list[BadImage] = []
        self._told: set[tuple[str, int]] = set()

    def note(self, batches: Sequence[Batch]) -> None:
        """Keep what this rank's batches of a step did without until the next report."""
        self.waiting.extend(one for batch in batches for one in batch.bad)

    def share(self) -> tuple[BadImage, ...]:
        """Tell of the images that any rank met since the last report, and give them (collective).

        Every image comes once, however often it was wanted.
        """
        found = gather_bad(self.waiting)
        self.waiting.clear()
        self.tell(found)
        return found

    def settle(self, split: Split, own: Sequence[BadImage]) -> tuple[BadImage, ...]:
        """Tell of the images of `split` that any rank met, and give them (collective).

        `own` are this rank's. Raises DataError on every rank where such images stop the run.
        """
        found = gather_bad(own)
        if found and self.on_bad_image == "stop":
            raise bad_images_error(split, found)
        self.tell(found)
        return found

    def tell(self, found: Sequence[BadImage]) -> None:
        """Name images that were not named before; list them under quarantine.

        Called by every rank with the same images; rank 0 logs and writes.
        """
        new = [one for one in found if (one.split, one.row) not in self._told]
        if new and PartialState().is_main_process:
            self._name(new)
            if self.run is not None and self.on_bad_image == "quarantine":
                add_to_quarantine(self.run, new)
        self._told.update((one.split, one.row) for one in new)

    def _name(self, new: Sequence[BadImage]) -> None:
        for number, one in enumerate(new, start=len(self._told) + 1):
            if number <= _MOST_NAMED:
                logger.warning("'%s': %s cannot be read: %s", one.split, one.name, one.reason)
            if number == _MOST_NAMED:
                logger.warning("further images that cannot be read are counted, but not named")


def gather_bad(own: Sequence[BadImage]) -> tuple[BadImage, ...]:
    """Give the images that any rank met, each once, in the order of the rows (collective)."""
    found = {(one.split, one.row): one for one in gather_object(list(own))}
    return tuple(found[key] for key in sorted(found))


def add_to_quarantine(run: Path, found: Sequence[BadImage]) -> None:
    """Add images to the run's list, each once, in one step. Called by rank 0 only.

    Raises DiskError.
    """
    path = run / QUARANTINE_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for one in found:
        entry = {"name": one.name, "split": one.split, "reason": one.reason}
        lines.append(json.dumps(entry))
    write_text(path, "".join(f"{line}\n" for line in dict.fromkeys(lines)))
