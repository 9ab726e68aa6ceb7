"""Images listed in a table: CSV, TSV, Parquet or JSON lines with a path and a label per row."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from hftune.core import DataFacts
from hftune.data.columns import check_columns, kind_of
from hftune.data.part import Found, Part
from hftune.errors import DataError
from hftune.files import user_path

if TYPE_CHECKING:
    from datasets import Dataset

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".json")


def table(
    *,
    train: str,
    val: str | None = None,
    test: str | None = None,
    image: str = "image",
    label: str = "label",
    root: str | None = None,
) -> Found:
    """Rows of a file per split, with a column of paths and one of labels.

    Relative paths start at `root`, or at the table's own folder. In CSV and TSV every value is
    text. Several labels are a list, or one text with '|' between them.
    """
    wanted = {"train": train, "val": val, "test": test}
    parts: dict[str, Part] = {}
    for name, text in wanted.items():
        if text is None:
            continue
        path = user_path(text)
        rows = read_table(path)
        check_columns(rows, (image, label), where=text)
        if str(getattr(rows.features[image], "dtype", "")) not in ("string", "large_string"):
            raise DataError(
                "the image column of a table must hold paths",
                found=f"{image} ({kind_of(rows.features[image])})",
                where=text,
                remedy="for images inside Parquet files use the source hub_dataset with"
                " repo: ./FOLDER",
            )
        start = user_path(root) if root is not None else path.parent
        parts[name] = Part(table=rows, image=image, label=label, name=name, root=start.absolute())
    return Found(parts=parts, facts=DataFacts(path=train))


def read_table(path: Path) -> Dataset:
    """Read one table through `datasets`. Raises DataError for a file that is no such table."""
    from datasets import Dataset  # an optional dependency, slow to import
    from datasets.exceptions import DatasetsError

    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in TABLES:
        problem = "this is no table that can be read" if path.is_file() else "there is no such file"
        raise DataError(
            problem,
            found=str(path),
            allowed=f"a file ending in {', '.join(TABLES)}",
            where=f"seen from {Path.cwd()}",
        )
    try:
        if suffix in _SEPARATORS:
            return _read_csv(path, _SEPARATORS[suffix])
        if suffix == ".parquet":
            return Dataset.from_parquet(str(path))
        return Dataset.from_json(str(path))
    except (DatasetsError, ValueError, UnicodeError) as error:
        raise DataError(
            "this table cannot be read",
            found=words_of(error),
            where=str(path),
            remedy="open and repair it, or write it anew",
        ) from error


def words_of(error: BaseException) -> str:
    """Give what `datasets` says about a failure; of a wrapper that says nothing, its cause."""
    from datasets.exceptions import DatasetGenerationError  # optional, slow to import

    while isinstance(error, DatasetGenerationError) and error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".strip()


def _read_csv(path: Path, separator: str) -> Dataset:
    """Read every value as text: 'NA' and '007' are class names, not gaps and numbers."""
    from datasets import Dataset, Features, Value  # an optional dependency, slow to import

    with path.open(newline="", encoding="utf-8-sig") as stream:
        header = next(csv.reader(stream, delimiter=separator), [])
    features = Features({name: Value("string") for name in header})
    return Dataset.from_csv(
        str(path), features=features, sep=separator, keep_default_na=False, encoding="utf-8-sig"
    )
