"""The labelling itself: a batch at a time into a file beside the wanted one, which appears whole.

Rows are appended as lines of JSON to `.NAME.part`; a command that is given again goes on after the
last whole line. At the end the rows become the file in one step.
"""

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image

from hftune.bulk.answers import Row, Wanted, check_form, failed_row, row_of, write_rows
from hftune.bulk.images import Pictures
from hftune.errors import DataError, RequestError
from hftune.files import digest_json, disk_errors
from hftune.predict import Predictor
from hftune.train.receipt import hash_tensors


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What was done: `images` are all rows of the file, `before` those of an earlier command.

    `bad` of them could not be read.
    """

    path: Path
    images: int
    before: int
    bad: int


def label_all(
    predictor: Predictor,
    pictures: Pictures,
    to: Path,
    wanted: Wanted,
    *,
    batch_size: int = 32,
    skips_bad: bool = False,
) -> Labelled:
    """Write a row for every image to `to` (.csv, .jsonl or .parquet), in their order.

    Killed or stopped, the same command goes on where it was. An image that cannot be read ends it
    with a DataError, or with `skips_bad` gets a row with its error. Raises RequestError where an
    unfinished file is of another model, other images or other options, and DiskError.
    """
    check_form(to)
    part = to.with_name(f".{to.name}.part")
    head = _head(predictor, pictures, wanted)
    with disk_errors(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        before = _repair(part, head)
        with part.open("a", encoding="utf-8") as stream:
            for rows in _batches(predictor, pictures, wanted, before, batch_size, skips_bad):
                stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                stream.flush()
            os.fsync(stream.fileno())
        bad = sum(row["error"] != "" for row in _read(part))
        made = to.with_name(f".{to.name}.new")
        numeric = predictor.labels.numeric
        write_rows(_read(part), made, form=to.suffix.lower(), top=wanted.top, numeric=numeric)
        made.replace(to)
        part.unlink()
    return Labelled(path=to, images=len(pictures), before=before, bad=bad)


def _batches(
    predictor: Predictor,
    pictures: Pictures,
    wanted: Wanted,
    first: int,
    batch_size: int,
    skips_bad: bool,
) -> Iterator[list[Row]]:
    """Give the rows from `first` on, a batch at a time; the next batch is decoded meanwhile."""

    def read(row: int) -> Image | DataError:
        try:
            return pictures.read(row)
        except DataError as error:
            return error

    number = len(pictures)
    chunks = [range(i, min(i + batch_size, number)) for i in range(first, number, batch_size)]
    with ThreadPoolExecutor() as pool:  # decoding does not hold the interpreter's lock
        coming = None if not chunks else pool.map(read, chunks[0])
        for chunk, following in zip(chunks, [*chunks[1:], None], strict=True):
            assert coming is not None
            images = list(coming)
            coming = None if following is None else pool.map(read, following)
            yield _rows(predictor, pictures, wanted, dict(zip(chunk, images, strict=True)),
                        skips_bad=skips_bad)  # fmt: skip


def _rows(
    predictor: Predictor,
    pictures: Pictures,
    wanted: Wanted,
    images: Mapping[int, Image | DataError],
    *,
    skips_bad: bool,
) -> list[Row]:
    """Give a row for each image, in their order. Raises DataError for a bad one."""
    good = {row: image for row, image in images.items() if not isinstance(image, DataError)}
    bad = {row: image for row, image in images.items() if isinstance(image, DataError)}
    if bad and not skips_bad:
        error = next(iter(bad.values()))
        error.remedy = "replace it, leave it out, or give it a row with its error: --skip-bad"
        raise error
    answers = predictor.answers([Path(pictures.name(row)) for row in good], [*good.values()])
    said = dict(zip(good, answers, strict=True))
    return [
        row_of(pictures.name(row), said[row], wanted)
        if row in said
        else failed_row(
            pictures.name(row),
            bad[row].found or bad[row].problem,
            numeric=predictor.labels.numeric,
        )
        for row in images
    ]


def _head(predictor: Predictor, pictures: Pictures, wanted: Wanted) -> dict[str, Any]:
    """Give what an unfinished file must agree on with the command that goes on with it."""
    state = predictor.classifier.module.state_dict()
    names = [pictures.name(row) for row in range(len(pictures))]
    return {
        "model": digest_json([hash_tensors(state, list(state)), list(predictor.labels.names)]),
        "images": digest_json(names),
        "options": asdict(wanted),
    }


def _repair(part: Path, head: Mapping[str, Any]) -> int:
    """Start a file, or cut one that a kill left after its last whole line; count its rows.

    Raises RequestError where it was begun for something else.
    """
    content = part.read_bytes() if part.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if not whole:
        part.write_text(json.dumps(head) + "\n", encoding="utf-8")
        return 0
    first, *rows = whole.splitlines()
    begun = json.loads(first)
    others = [name for name, value in head.items() if begun.get(name) != value]
    if others:
        raise RequestError(
            "an unfinished file was begun with something else",
            found=f"other {' and other '.join(others)}",
            where=str(part),
            remedy="give the command that began it, remove the file, or choose another --to",
        )
    if len(whole) < len(content):
        with part.open("r+b") as stream:
            stream.truncate(len(whole))
    return len(rows)


def _read(part: Path) -> Iterator[Row]:
    with part.open(encoding="utf-8") as stream:
        next(stream)
        yield from map(json.loads, stream)
