"""Chosen rows of a part with encoded targets: what a Split holds."""

import hashlib
import json

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hftune.core import LabelSpace
from hftune.data.order import Positions
from hftune.data.part import Part

Targets = NDArray[np.int64] | NDArray[np.float32]


class PartRows:
    """Rows of `part` at `positions`; `targets` int64 [N] or float32 [N, K], in the same order."""

    def __init__(self, part: Part, positions: Positions, targets: Targets) -> None:
        if len(positions) != len(targets):
            raise ValueError(f"{len(positions)} rows, {len(targets)} targets")
        self.part = part
        self.positions = positions
        self.targets: np.ndarray = targets

    def __len__(self) -> int:
        return len(self.positions)

    def image(self, row: int) -> Image.Image:
        """Decode one image, mode L or RGB. Raises DataError where it cannot be read."""
        return self.part.picture(int(self.positions[row]))

    def key(self, row: int) -> str:
        """Name one example for a message."""
        return self.part.key(int(self.positions[row]))


def digest_rows(rows: PartRows, labels: LabelSpace) -> str:
    """Give the sha256 of what the rows are: origin, keys, sizes, targets and class names.

    Times and the place of a folder on this machine are left out.
    """
    total = hashlib.sha256(json.dumps([rows.part.origin, labels.names]).encode())
    for position in rows.positions:
        total.update(rows.part.stamp(int(position)).encode() + b"\n")
    total.update(np.ascontiguousarray(rows.targets).tobytes())
    return total.hexdigest()
