"""The ELPV solar cells from the package index, as a Hub dataset folder and as an image folder.

The task is that of Deitsch et al. 2019: a cell is defective when the labelled probability is at
least 0.5; a quarter is kept for testing, stratified by module type and label.
"""

import hashlib
import importlib.util
import io
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hftune import files
from hftune.errors import DataError, MissingPackageError

REPO_ID = "hftune/elpv"
CLASSES = ("functional", "defective")
MODULE_TYPES = ("mono", "poly")
NUM_CELLS = 2624
SHARDS = {"train": 2, "test": 1}
_TEST_SHARE = 4  # one in four
_PACKAGE = "elpv_dataset"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One picture of a solar cell. `probability` is the annotators' that it is defective."""

    path: Path
    probability: float
    module_type: str

    @property
    def label(self) -> str:
        """The class of the binary task."""
        return CLASSES[self.probability >= 0.5]


def write_dataset(folder: Path, *, seed: int = 0) -> None:
    """Fill `folder` with parquet shards and a card; the same rows in the same order every time.

    Raises MissingPackageError without the package `elpv-dataset`, DataError if it is incomplete.
    """
    splits = split_cells(read_cells(), seed=seed)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, cells in splits.items():
        for number in range(SHARDS[name]):
            shard = cells[number :: SHARDS[name]]
            _write_shard(folder / "data" / _shard_name(name, number), shard)
    files.write_text(folder / "README.md", _card(folder, splits))


def write_image_folder(folder: Path, *, seed: int = 0) -> None:
    """Make `folder` with train/CLASS/*.png and test/CLASS/*.png, of the same splits.

    An existing folder is replaced as a whole. Raises as `write_dataset` does.
    """
    splits = split_cells(read_cells(), seed=seed)
    with files.committed_folder(folder) as aside:
        for name, cells in splits.items():
            for label in CLASSES:
                (aside / name / label).mkdir(parents=True)
            for cell in cells:
                shutil.copyfile(cell.path, aside / name / cell.label / cell.path.name)
        files.write_text(aside / "ABOUT.txt", _ABOUT)


def read_cells() -> list[Cell]:
    """Read the package's table. Raises MissingPackageError, DataError."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise MissingPackageError(
            "the package 'elpv-dataset' with the solar cell images is missing",
            remedy="pip install 'hftune[demo]'",
        )
    folder = Path(found.origin).parent / "data"
    cells = [_cell(folder, line) for line in (folder / "labels.csv").read_text().splitlines()]
    missing = [cell.path.name for cell in cells if not cell.path.is_file()]
    if len(cells) != NUM_CELLS or missing:
        raise DataError(
            "the package 'elpv-dataset' is not complete",
            found=f"{len(cells)} rows, {len(missing)} of them without their image",
            allowed=f"{NUM_CELLS} rows, each with its image",
            where=str(folder),
            remedy="install it anew: pip install --force-reinstall elpv-dataset",
        )
    return cells


def split_cells(cells: Sequence[Cell], *, seed: int = 0) -> dict[str, list[Cell]]:
    """Give train and test, each sorted by name; strata of module type and label keep their share.

    Which cell goes where depends on its name and the seed only, on any machine.
    """
    strata: defaultdict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        strata[cell.module_type, cell.label].append(cell)
    quotas = _quotas({key: len(stratum) for key, stratum in strata.items()})
    test: list[Cell] = []
    for key, stratum in strata.items():
        test += sorted(stratum, key=lambda cell: _draw(cell, seed))[: quotas[key]]
    chosen = {cell.path for cell in test}
    train = [cell for cell in cells if cell.path not in chosen]
    return {"train": _by_name(train), "test": _by_name(test)}


def _quotas(sizes: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Give test cells per stratum: whole shares first, the rest to the largest remainders."""
    quotas = {key: size // _TEST_SHARE for key, size in sizes.items()}
    left = sum(sizes.values()) // _TEST_SHARE - sum(quotas.values())
    by_remainder = sorted(sizes, key=lambda key: (-(sizes[key] % _TEST_SHARE), key))
    for key in by_remainder[:left]:
        quotas[key] += 1
    return quotas


def _draw(cell: Cell, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{cell.path.name}".encode()).digest()


def _by_name(cells: Iterable[Cell]) -> list[Cell]:
    return sorted(cells, key=lambda cell: cell.path.name)


def _cell(folder: Path, line: str) -> Cell:
    """Read one row: path, probability and module type, apart by spaces."""
    fields = line.split()
    try:
        path, probability, module_type = fields
        cell = Cell(path=folder / path, probability=float(probability), module_type=module_type)
    except ValueError:
        raise DataError("a row of the table cannot be read", found=repr(line)) from None
    if cell.module_type not in MODULE_TYPES or not 0 <= cell.probability <= 1:
        raise DataError("a row of the table is out of range", found=repr(line))
    return cell


def _shard_name(split: str, number: int) -> str:
    return f"{split}-{number:05d}-of-{SHARDS[split]:05d}.parquet"


def _write_shard(path: Path, cells: Sequence[Cell]) -> None:
    import datasets  # Slow to import, and not needed for the image folder.

    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=list(CLASSES)),
            "probability": datasets.Value("float64"),
            "module_type": datasets.ClassLabel(names=list(MODULE_TYPES)),
            "name": datasets.Value("string"),
        }
    )
    columns = {
        "image": [{"bytes": cell.path.read_bytes(), "path": cell.path.name} for cell in cells],
        "label": [CLASSES.index(cell.label) for cell in cells],
        "probability": [cell.probability for cell in cells],
        "module_type": [MODULE_TYPES.index(cell.module_type) for cell in cells],
        "name": [cell.path.stem for cell in cells],
    }
    stream = io.BytesIO()
    datasets.Dataset.from_dict(columns, features=features).to_parquet(stream)
    files.write_bytes(path, stream.getvalue())


def _card(folder: Path, splits: dict[str, list[Cell]]) -> str:
    """Give README.md, with the numbers that the datasets library checks when it loads."""
    sizes = {name: sum(cell.path.stat().st_size for cell in splits[name]) for name in splits}
    rows = "".join(
        f"  - name: {name}\n    num_bytes: {sizes[name]}\n    num_examples: {len(splits[name])}\n"
        for name in splits
    )
    download = sum(path.stat().st_size for path in (folder / "data").glob("*.parquet"))
    totals = f"  download_size: {download}\n  dataset_size: {sum(sizes.values())}\n"
    return _CARD_HEAD + rows + totals + _CARD_REST


_CARD_HEAD = """---
pretty_name: ELPV solar cells
license: cc-by-nc-sa-4.0
task_categories:
- image-classification
size_categories:
- 1K<n<10K
tags:
- solar-cells
- defect-detection
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: test
    path: data/test-*
dataset_info:
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
          '0': functional
          '1': defective
  - name: probability
    dtype: float64
  - name: module_type
    dtype:
      class_label:
        names:
          '0': mono
          '1': poly
  - name: name
    dtype: string
  splits:
"""

_CITATION = """\
@Article{Deitsch2019,
  author  = {Sergiu Deitsch and Vincent Christlein and Stephan Berger and Claudia Buerhop-Lutz and
             Andreas Maier and Florian Gallwitz and Christian Riess},
  title   = {Automatic classification of defective photovoltaic module cells in
             electroluminescence images},
  journal = {Solar Energy},
  year    = {2019},
  volume  = {185},
  pages   = {455--468},
  doi     = {10.1016/j.solener.2019.02.067},
}
"""

_CARD_REST = f"""---

# ELPV: functional and defective solar cells

{NUM_CELLS} electroluminescence pictures of single solar cells, 300 x 300 pixels, 8 bit grey, from
44 modules. Each carries the annotators' probability that the cell is defective and whether the
module is mono- or polycrystalline.

- `label`: defective when the probability is at least 0.5, as in Deitsch et al. 2019
- `train` and `test`: three quarters and one quarter, stratified by module type and label, drawn
  from the names with a fixed seed; not the split of the paper, which was not published
- validation is to be carved from `train`

Made by `hftune hub seed` from the Python package `elpv-dataset`; the pictures are unchanged.

## Licence

Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International (CC-BY-NC-SA-4.0), by the
authors of the data set.

## Citation

```bibtex
{_CITATION}```
"""

_ABOUT = f"""\
ELPV: {NUM_CELLS} electroluminescence pictures of solar cells, functional or defective.
Licence: CC-BY-NC-SA-4.0, by the authors of the data set. Please cite:

{_CITATION}"""
