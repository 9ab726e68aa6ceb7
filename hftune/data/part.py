"""One split as its source holds it: images not yet decoded, labels not yet encoded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from PIL import Image

from hftune.core import DataFacts
from hftune.data.columns import Table
from hftune.data.decode import decode
from hftune.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a data source gives: the parts "train" and, where there are any, "val" and "test"."""

    parts: Mapping[str, Part]
    facts: DataFacts


@dataclass(frozen=True)
class Part:
    """Rows of a table. Nothing is copied and no image is read before it is needed.

    `image` names the column of images: bytes, or paths. With a `root` all images are files, and
    relative paths start there; without one `origin` identifies the content, for instance by
    repository, commit and configuration. `label` names the column of labels; `name` is what the
    source calls this part.
    """

    table: Table
    image: str
    label: str
    name: str
    origin: str = ""
    root: Path | None = None

    def __len__(self) -> int:
        return len(self.table)

    def picture(self, position: int, *, draft: int | None = None) -> Image.Image:
        """Decode one image, with `draft` as `decode` does.

        Raises DataError where it is absent or cannot be read.
        """
        return decode(self.stored(position), name=self.key(position), draft=draft)

    def stored(self, position: int) -> bytes | Path:
        """Give one image as it is stored: bytes, or the file. Raises DataError for an empty row."""
        if self.root is not None:
            stored: bytes | str | None = self.path(position)
        else:
            content, path = _content(self._images[position][self.image])
            stored = path if content is None else content
        if stored is None:
            raise DataError("there is no image in this row", where=self.key(position))
        return Path(stored) if isinstance(stored, str) else stored

    def key(self, position: int) -> str:
        """Name one row: its path below the root, or part and row with the path if there is one."""
        path = self.path(position)
        if self.root is None or path is None:
            return f"{self.name} row {position}" + (f" ({path})" if path else "")
        start = f"{self.root}{os.sep}"
        return path[len(start) :] if path.startswith(start) else os.path.relpath(path, self.root)

    def path(self, position: int) -> str | None:
        """Give the path of one image, which for bytes in the table is only a name."""
        if self.root is None:
            return _content(self._images[position][self.image])[1]
        path = self._paths[position]
        return None if path is None else self._full_path(path)

    def stamp(self, position: int) -> str:
        """Give a text that changes when the image of this row does, as far as it costs little.

        For a file its key and size, -1 where it is missing; else the row of the origin.
        """
        path = self.path(position) if self.root is not None else None
        return str(position) if path is None else f"{self.key(position)} {file_state(path)[0]}"

    def contents(self) -> list[object]:
        """Give values of which one changes when an image does: states of files, fingerprints."""
        if self.root is not None:
            paths = self._paths
            start: list[object] = [self.name, len(self)]
        else:
            paths = self._paths_outside()
            # Changes with the content of the table, also where that came from other files.
            table: Any = self.table  # without a root it is one of `datasets`
            start = [self.name, len(self), self.image, self.origin, table._fingerprint]
        full = [None if path is None else self._full_path(path) for path in paths]
        return [*start, *(None if path is None else (path, *file_state(path)) for path in full)]

    def _paths_outside(self) -> list[str | None]:
        """Give the files of the images that the table only names."""
        import pyarrow.compute  # a dependency of `datasets`, slow to import

        paths = self._images.data.column(self.image)
        if pyarrow.types.is_struct(paths.type):
            is_outside = pyarrow.compute.is_null(pyarrow.compute.struct_field(paths, "bytes"))
            paths = pyarrow.compute.struct_field(paths, "path").filter(is_outside)
        return cast("list[str | None]", paths.to_pylist())

    @cached_property
    def _images(self) -> Any:
        images: Any = self.table.with_format(None).select_columns([self.image])
        if type(images.features[self.image]).__name__ == "Image":
            from datasets import Image as ImageFeature  # loaded already: the table is one of its

            images = images.cast_column(self.image, ImageFeature(decode=False))
        return images

    def _full_path(self, path: str) -> str:
        return os.path.join(self.root or "", path)  # noqa: PTH118  # quick

    @cached_property
    def _paths(self) -> list[str | None]:
        """All paths at once: a million single reads of the table would take minutes."""
        return [_content(cell)[1] for cell in self._images[self.image][:]]


def file_state(path: str) -> tuple[int, int]:
    """Give a file's size in bytes and time in nanoseconds, (-1, 0) where it cannot be seen."""
    try:
        stat = os.stat(path)  # noqa: PTH116  # quick
    except OSError:
        return -1, 0
    return stat.st_size, stat.st_mtime_ns


def _content(cell: object) -> tuple[bytes | None, str | None]:
    """Give the bytes and the path in one cell of the image column, as far as it has them."""
    if isinstance(cell, str):
        return None, cell
    return (cell["bytes"], cell["path"]) if isinstance(cell, dict) else (None, None)
