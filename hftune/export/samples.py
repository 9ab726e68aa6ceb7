"""A few validation images of a run: kept beside it always, published only where that is allowed."""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from hftune.core import Split
from hftune.data.decode import decode
from hftune.errors import DataError
from hftune.export.terms import terms_of
from hftune.files import committed_folder, write_bytes

SAMPLES = "samples"
_MOST = 4
_LONGEST_SIDE = 512
_QUALITY = 90


@dataclass(frozen=True, kw_only=True)
class Sample:
    """An image of the run: its file's stem (`1-defective`) and the image, mode RGB or L."""

    stem: str
    image: Image.Image

    @property
    def title(self) -> str:
        """What the example is called: its class or number; its place where it has several."""
        number, _, name = self.stem.partition("-")
        return name or f"Example {number}"


def keep_samples(run: Path, split: Split) -> None:
    """Write up to four images of `split`, of as many classes, as PNG into `run/samples`.

    Of numbers the lowest, the highest and what lies evenly between them. One that cannot be read
    is left out: the evaluation, of which all ranks learn, decides what becomes of it.

    Called by rank 0, once per run. Raises DiskError.
    """
    with committed_folder(run / SAMPLES) as folder:
        choose = _choose_numbers if split.labels.numeric else _choose
        for number, row in enumerate(choose(split.rows.targets), start=1):
            name = _name_of(split, row)
            stem = f"{number}-{name}" if name else str(number)
            with contextlib.suppress(DataError):
                _small(split.rows.image(row)).save(folder / f"{stem}.png")


def read_samples(run: Path) -> tuple[Sample, ...]:
    """Give the images that the run kept, in their order; none where it kept none.

    Raises DataError for one that is damaged.
    """
    paths = sorted((run / SAMPLES).glob("*.png"))
    return tuple(Sample(stem=path.stem, image=decode(path, name=str(path))) for path in paths)


def may_share(data_license: str | None) -> bool:
    """Say whether images under this licence may be put on a public page. Unknown means no.

    Terms that forbid changes forbid it as well: the images are made smaller.
    """
    terms = terms_of(data_license)
    return terms is not None and terms.changed


def write_jpegs(folder: Path, samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Write the samples as small JPEG files without metadata; give them as a reader sees them."""
    written = []
    for sample in samples:
        stream = BytesIO()
        sample.image.save(stream, format="JPEG", quality=_QUALITY)
        write_bytes(folder / f"{sample.stem}.jpg", stream.getvalue())
        with Image.open(BytesIO(stream.getvalue())) as image:
            written.append(Sample(stem=sample.stem, image=image.convert(_mode(image))))
    return tuple(written)


def _choose(targets: np.ndarray) -> list[int]:
    """Give the first row of each class, then the first rows, a handful in all."""
    if targets.ndim == 2:
        return list(range(min(len(targets), _MOST)))
    _, first = np.unique(targets, return_index=True)
    rows = [*sorted(int(row) for row in first), *range(len(targets))]
    return list(dict.fromkeys(rows))[:_MOST]


def _choose_numbers(targets: np.ndarray) -> list[int]:
    """Give the rows at even places in the order of the targets [N, 1], lowest first."""
    order = np.argsort(targets[:, 0], kind="stable")
    places = np.linspace(0, len(order) - 1, num=min(_MOST, len(order))).round().astype(int)
    return [int(row) for row in order[places]]


def _name_of(split: Split, row: int) -> str:
    """Give a row's class or number as it can stand in a file name; empty with several labels."""
    target = split.rows.targets[row]
    if split.labels.numeric:
        return f"{float(target[0]):.4g}".replace("+", "")
    if np.ndim(target):
        return ""
    return re.sub(r"[^\w.]+", "-", split.labels.names[int(target)]).strip("-.")[:40]


def _small(image: Image.Image) -> Image.Image:
    copy = image.convert(_mode(image))
    copy.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return copy


def _mode(image: Image.Image) -> str:
    return "L" if image.mode == "L" else "RGB"
