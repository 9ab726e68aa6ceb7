"""What is kept of a model's answer about an image, and how a file of such answers looks."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hftune.errors import RequestError
from hftune.predict import Prediction, answer_values

FORMS = (".csv", ".jsonl", ".parquet")

Row = Mapping[str, Any]

_CHUNK = 10_000  # rows that are turned into a table at once


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How much of an answer is kept: the `top` classes, and labels from a score of `threshold` on.

    None as `threshold` keeps the highest class of each image, or with several labels per image
    those from 0.5 on.
    """

    top: int = 3
    threshold: float | None = None


def row_of(name: str, prediction: Prediction, wanted: Wanted) -> Row:
    """Give what is kept of one answer; 'error' is '' where there is one."""
    answer = answer_values(prediction, top=wanted.top, threshold=wanted.threshold)
    return {"path": name, **answer, "error": ""}


def failed_row(name: str, reason: str, *, numeric: bool) -> Row:
    """Give the row of an image that cannot be read, to a model of regression if `numeric`."""
    nothing: Row = {"numbers": {}} if numeric else {"labels": [], "scores": {}}
    return {"path": name, **nothing, "error": reason}


def check_form(path: Path) -> None:
    """Raise RequestError for a file of no known form."""
    if path.suffix.lower() not in FORMS:
        raise RequestError(
            "this is no form in which answers can be written",
            found=path.name,
            allowed=f"a name ending in {', '.join(FORMS)}",
            where="--to",
        )


def write_rows(rows: Iterable[Row], path: Path, *, form: str, top: int, numeric: bool) -> None:
    """Write rows as JSON lines, CSV or Parquet.

    CSV has a column for each of the `top` classes and scores; Parquet has lists.
    """
    if form == ".parquet":
        _write_parquet(rows, path, numeric=numeric)
        return
    with path.open("w", encoding="utf-8", newline="") as stream:
        if form == ".jsonl":
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return
        writer = csv.writer(stream, lineterminator="\n")
        ranks = range(1, top + 1)
        columns = [text for rank in ranks for text in (f"label_{rank}", f"score_{rank}")]
        middle = ["name", "number"] if numeric else ["labels", *columns]
        writer.writerow(["path", *middle, "error"])
        writer.writerows(_cells(row, top, numeric=numeric) for row in rows)


def _cells(row: Row, top: int, *, numeric: bool) -> list[object]:
    if numeric:
        name, number = next(iter(row["numbers"].items()), ("", ""))
        return [row["path"], name, number, row["error"]]
    scores = [text for pair in row["scores"].items() for text in pair]
    scores += [""] * (2 * top - len(scores))
    return [row["path"], "|".join(row["labels"]), *scores, row["error"]]


def _write_parquet(rows: Iterable[Row], path: Path, *, numeric: bool) -> None:
    import pyarrow as pa  # slow to import, and for this form alone
    import pyarrow.parquet

    text = pa.string()
    middle = (
        [("name", text), ("number", pa.float64())]
        if numeric
        else [
            ("labels", pa.list_(text)),
            ("top_labels", pa.list_(text)),
            ("top_scores", pa.list_(pa.float32())),
        ]
    )
    schema = pa.schema([("path", text), *middle, ("error", text)])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for chunk in _chunks(rows):
            flat = [_flat(row, numeric=numeric) for row in chunk]
            values = {name: [row.get(name) for row in flat] for name in schema.names}
            writer.write_table(pa.table(values, schema=schema))


def _flat(row: Row, *, numeric: bool) -> Row:
    if numeric:
        name, number = next(iter(row["numbers"].items()), (None, None))
        return {**row, "name": name, "number": number}
    return {**row, "top_labels": [*row["scores"]], "top_scores": [*row["scores"].values()]}


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while chunk := list(islice(left, _CHUNK)):
        yield chunk
