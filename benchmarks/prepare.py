"""Weights and images for the benchmarks, made once in a folder from packages that are installed.

    python -m benchmarks.prepare [--folder .bench]

The weights are EfficientNet-Lite0's; the images are the solar cells of the package elpv-dataset.
Nothing is downloaded.
"""

import argparse
import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from hftune.data.seed_elpv import CLASSES, Cell, read_cells, split_cells
from hftune.files import committed_folder
from hftune.model.seed_backbone import write_backbone

LITE0 = "tf_efficientnet_lite0"
PHOTOGRAPH_SIDE = 500
_TURNS = (None, *Image.Transpose)


@dataclass(frozen=True, kw_only=True)
class Images:
    """Which images: 'sure' cells (probability 0 or 1), 'elpv' (all, 0.5 or more is defective), or
    'jpeg': the sure ones as JPEG files of a photograph's size, in all eight positions.

    `train` and `val` are how many of each, with the classes in their share; None is all.
    """

    kind: str
    train: int | None = None
    val: int | None = None

    @property
    def name(self) -> str:
        """The name of their folder."""
        return f"{self.kind}-{self.train or 'all'}-{self.val or 'all'}"


def weights_folder(folder: Path, architecture: str) -> Path:
    """Give the folder with weights of `architecture` in timm's Hub format; made if it is missing.

    They are pretrained for EfficientNet-Lite0, and random for others: their speed is the same.
    """
    target = folder / architecture
    if not target.exists():
        with committed_folder(target) as aside:
            if architecture == LITE0:
                write_backbone(aside)
            else:
                write_random(aside, architecture)
    return target


def write_random(folder: Path, architecture: str) -> None:
    """Fill `folder` with an architecture's weights before any training."""
    torch.manual_seed(0)
    network = timm.create_model(architecture)
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    facts = ("input_size", "interpolation", "crop_pct", "mean", "std", "first_conv", "classifier")
    config = {
        "architecture": architecture,
        "num_classes": network.num_classes,
        "num_features": network.num_features,
        "pretrained_cfg": {name: network.pretrained_cfg[name] for name in facts},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def images_folder(folder: Path, images: Images) -> Path:
    """Give the folder train/CLASS/ and val/CLASS/ of `images`; made if it is missing."""
    target = folder / images.name
    if not target.exists():
        splits = split_cells(wanted_cells(images.kind))
        with committed_folder(target) as aside:
            for part, cells, number in (
                ("train", splits["train"], images.train),
                ("val", splits["test"], images.val),
            ):
                for label in CLASSES:
                    (aside / part / label).mkdir(parents=True)
                chosen = cells if number is None else choose(cells, number)
                write_cells(aside / part, chosen, as_jpeg=images.kind == "jpeg")
    return target


def wanted_cells(kind: str) -> list[Cell]:
    """Give the cells of a kind of images."""
    cells = read_cells()
    return cells if kind == "elpv" else [cell for cell in cells if cell.probability in (0.0, 1.0)]


def choose(cells: Sequence[Cell], number: int) -> list[Cell]:
    """Give `number` of the cells, each class in its share; the same on every machine."""
    drawn = sorted(cells, key=lambda cell: hashlib.sha256(cell.path.name.encode()).digest())
    defective = round(number * sum(cell.label == CLASSES[1] for cell in cells) / len(cells))
    quotas = {CLASSES[0]: number - defective, CLASSES[1]: defective}
    return [cell for label in CLASSES for cell in _first(drawn, label, quotas[label])]


def _first(cells: Iterable[Cell], label: str, number: int) -> list[Cell]:
    return [cell for cell in cells if cell.label == label][:number]


def write_cells(folder: Path, cells: Iterable[Cell], *, as_jpeg: bool) -> None:
    """Copy cells into their classes' folders, or draw each of them eight times as JPEG."""
    for cell in cells:
        if not as_jpeg:
            shutil.copyfile(cell.path, folder / cell.label / cell.path.name)
            continue
        with Image.open(cell.path) as image:
            large = image.convert("RGB").resize((PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE))
        for number, turn in enumerate(_TURNS):
            turned = large if turn is None else large.transpose(turn)
            turned.save(folder / cell.label / f"{cell.path.stem}-{number}.jpg", quality=90)


def main() -> None:
    """Make what the workloads of a machine without a GPU need."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(".bench"))
    folder = parser.parse_args().folder
    print(weights_folder(folder, LITE0))
    for images in (Images(kind="sure"), Images(kind="elpv")):
        print(images_folder(folder, images))


if __name__ == "__main__":
    main()
