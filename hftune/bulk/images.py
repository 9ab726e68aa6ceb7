"""What is to be labelled: files, folders, patterns, tables of paths, and data sets of the Hub."""

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from hftune.data.columns import check_columns
from hftune.data.decode import decode
from hftune.data.hub_source import open_repository
from hftune.data.part import Part
from hftune.data.table_source import TABLES, read_table
from hftune.errors import DataError
from hftune.hub.ref import parse_ref
from hftune.predict import find_images

_PATTERN = frozenset("*?[")


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Images in a fixed order: `name` gives one's name, `read` decodes it or raises DataError."""

    number: int
    name: Callable[[int], str]
    read: Callable[[int], Image]

    def __len__(self) -> int:
        return self.number


def find_pictures(words: Sequence[str], *, column: str = "image") -> Pictures:
    """Give the images that words name: files, folders, patterns such as 'a/*.jpg', and tables.

    A table (CSV, TSV, Parquet, JSON lines) has paths in `column`; relative ones start at the
    table's own folder. Raises DataError for what is not there.
    """
    paths: list[Path] = []
    for word in words:
        path = Path(word)
        if path.suffix.lower() in TABLES and path.is_file():
            paths += _listed(path, column)
        elif _PATTERN.isdisjoint(word) or path.exists():
            paths += find_images([path])
        else:
            found = sorted(map(Path, glob.glob(word, recursive=True)))  # noqa: PTH207  # any root
            if not found:
                raise DataError("no file has such a name", found=word, where=str(Path.cwd()))
            paths += find_images(found)
    return Pictures(
        number=len(paths),
        name=lambda row: str(paths[row]),
        read=lambda row: decode(paths[row], name=str(paths[row])),
    )


def pictures_of_dataset(
    repo: str, *, split: str, config: str | None = None, column: str = "image"
) -> Pictures:
    """Give the images of one split of a data set, 'org/name', 'org/name@revision' or a folder.

    Raises DataError where there is no such split or column, HubError and its kin.
    """
    opened = open_repository(parse_ref(repo, kind="dataset"), config)
    there = [str(name) for name in opened.builder.info.splits or ()]
    if split not in there:
        raise DataError(
            f"the data set has no split '{split}'", allowed=", ".join(there), where=repo,
            remedy="name one of these with --split",
        )  # fmt: skip
    rows = opened.builder.as_dataset(split=split)
    check_columns(rows, (column,), where=repo)
    part = Part(table=rows, image=column, label=column, name=split, origin=repo)
    # Not the part's own names: these would read the bytes of each image.
    return Pictures(
        number=len(part), name=lambda row: f"{repo} {split} row {row}", read=part.picture
    )


def _listed(table: Path, column: str) -> list[Path]:
    rows = read_table(table)
    check_columns(rows, (column,), where=str(table))
    texts = [str(value) for value in rows.with_format(None)[column][:]]
    return [table.parent / text for text in texts]
