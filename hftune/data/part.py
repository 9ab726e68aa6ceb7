"""One split as its source holds it: images not yet decoded, labels not yet encoded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from hftune.core import DataFacts
from hftune.data.decode import decode
from hftune.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a data source gives: the parts "train" and, where there are any, "val" and "test"."""

    parts: Mapping[str, Part]
    facts: DataFacts


@dataclass(frozen=True)
class Part:
    """Rows of a `datasets` table. Nothing is copied and no image is read before it is needed.

    `image` names the column of images (datasets' Image feature, or paths), `label` that of labels.
    `name` is what the source calls this part; `origin` identifies its content where that is not a
    folder of files: repository, commit and configuration. `root` is where relative paths start.
    """

    table: Dataset
    image: str
    label: str
    name: str
    origin: str = ""
    root: Path | None = None

    def __len__(self) -> int:
        return len(self.table)

    def picture(self, position: int) -> Image.Image:
        """Decode one image. Raises DataError where it is absent or cannot be read."""
        content, path = self._cell(position)
        stored = content if content is not None else path
        if stored is None:
            raise DataError("there is no image in this row", where=self.key(position))
        return decode(stored, name=self.key(position))

    def path(self, position: int) -> Path | None:
        """Give the path of one image, which for bytes in the table is only a name."""
        return self._cell(position)[1]

    def key(self, position: int) -> str:
        """Name one row: its path below the root, or part and row with the path if there is one."""
        path = self.path(position)
        if self.root is not None and path is not None:
            return os.path.relpath(path, self.root)
        row = f"{self.name} row {position}"
        return row if path is None else f"{row} ({path})"

    def stamp(self, position: int) -> str:
        """Give a text that changes when the image of this row does, as far as it costs little.

        For a file its key and size, -1 where it is missing; else the row of the origin.
        """
        if self.origin:
            return str(position)
        path = self.path(position)
        try:
            size = -1 if path is None else path.stat().st_size
        except OSError:
            size = -1
        return f"{self.key(position)} {size}"

    def _cell(self, position: int) -> tuple[bytes | None, Path | None]:
        """Give the bytes and the path of one image, as far as the table holds them."""
        cell = self._images[position][self.image]
        if isinstance(cell, str):
            cell = {"bytes": None, "path": cell}
        elif cell is None:
            cell = {"bytes": None, "path": None}
        path = None if cell["path"] is None else Path(cell["path"])
        if path is not None and self.root is not None:
            path = self.root / path
        return cell["bytes"], path

    @cached_property
    def _images(self) -> Dataset:
        from datasets import Image as ImageFeature  # an optional dependency, slow to import

        images = self.table.with_format(None).select_columns([self.image])
        if isinstance(images.features[self.image], ImageFeature):
            images = images.cast_column(self.image, ImageFeature(decode=False))
        return images
