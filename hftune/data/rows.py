"""Chosen rows of a part with encoded targets: what a Split holds."""

import hashlib
import json
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hftune.core import InputSpec, LabelSpace, Split
from hftune.data.order import Positions
from hftune.data.part import Part
from hftune.files import digest_json

Targets = NDArray[np.int64] | NDArray[np.float32]

# With this margin a photograph that is resized in one go differs by four grey levels at most, and a
# crop of a ninth of its area has as many pixels as the model wants.
DRAFT_MARGIN = 3


class PartRows:
    """Rows of `part` at `positions`; `targets` int64 [N] or float32 [N, K], in the same order.

    `draft` is what `decode` takes: None for whole images.
    """

    def __init__(
        self, part: Part, positions: Positions, targets: Targets, *, draft: int | None = None
    ) -> None:
        if len(positions) != len(targets):
            raise ValueError(f"{len(positions)} rows, {len(targets)} targets")
        self.part = part
        self.positions = positions
        self.targets: np.ndarray = targets
        self.draft = draft

    def __len__(self) -> int:
        return len(self.positions)

    def image(self, row: int) -> Image.Image:
        """Decode one image, mode L or RGB. Raises DataError where it cannot be read."""
        return self.part.picture(int(self.positions[row]), draft=self.draft)

    def key(self, row: int) -> str:
        """Name one example for a message."""
        return self.part.key(int(self.positions[row]))


def draft_split(split: Split, spec: InputSpec) -> Split:
    """Give the split with its large JPEG images reduced while they are decoded.

    They keep three times the pixels that a model of `spec` wants, or more. The digest is another
    one, as the pixels are. Rows that hold no stored images stay as they are.
    """
    rows = split.rows
    if not isinstance(rows, PartRows):
        return split
    side = DRAFT_MARGIN * max(spec.height, spec.width)
    drafted = PartRows(rows.part, rows.positions, rows.targets, draft=side)
    return replace(split, rows=drafted, digest=digest_json([split.digest, "draft", side]))


def digest_rows(rows: PartRows, labels: LabelSpace) -> str:
    """Give the sha256 of what the rows are: origin, keys, sizes, targets and class names.

    Times and the place of a folder on this machine are left out.
    """
    total = hashlib.sha256(json.dumps([rows.part.origin, labels.names]).encode())
    for position in rows.positions:
        total.update(rows.part.stamp(int(position)).encode() + b"\n")
    total.update(np.ascontiguousarray(rows.targets).tobytes())
    return total.hexdigest()
