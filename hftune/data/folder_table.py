"""The images of class folders as a table, without the `datasets` library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

IMAGE, LABEL = "image", "label"


@dataclass(frozen=True)
class Value:
    """A column of plain values, as `datasets` names it."""

    dtype: str


@dataclass(frozen=True)
class ClassLabel:
    """A column of numbers that stand for `names`, as `datasets` names it."""

    names: Sequence[str]
    dtype: ClassVar[str] = "int64"


@dataclass(frozen=True, kw_only=True)
class FolderTable:
    """Absolute paths, and for each the number of its class in `classes`."""

    paths: Sequence[str]
    labels: Sequence[int]
    classes: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, column: str) -> Sequence[object]:
        return {IMAGE: self.paths, LABEL: self.labels}[column]

    @property
    def column_names(self) -> list[str]:
        """The columns in their order."""
        return [IMAGE, LABEL]

    @property
    def features(self) -> dict[str, object]:
        """What each column holds."""
        return {IMAGE: Value("string"), LABEL: ClassLabel(self.classes)}

    def with_format(self, kind: None, /) -> FolderTable:  # noqa: ARG002 - as `datasets` has it
        """Give these rows: their values are plain."""
        return self

    def select_columns(self, column_names: list[str], /) -> FolderTable:  # noqa: ARG002 - likewise
        """Give these rows: no column costs anything."""
        return self
