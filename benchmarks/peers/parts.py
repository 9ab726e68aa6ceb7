"""Which modules of a network are its first half and its body; torch is not needed to know it."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Module names; `first_stages` is the first half as hftune counts stages, with the stem."""

    first_half: tuple[str, ...]
    first_stages: int
    body: tuple[str, ...]


PARTS = {
    "efficientnet": Parts(
        first_half=("conv_stem", "bn1", "blocks.0", "blocks.1", "blocks.2", "blocks.3"),
        first_stages=5,
        body=("conv_stem", "bn1", "blocks", "conv_head", "bn2"),
    ),
    "resnet": Parts(
        first_half=("conv1", "bn1", "layer1", "layer2"),
        first_stages=3,
        body=("conv1", "bn1", "layer1", "layer2", "layer3", "layer4"),
    ),
}


def parts_of(weights: Path) -> Parts:
    """Give the parts of the network in a folder of timm's format."""
    architecture = read_config(weights)["architecture"]
    for family, parts in PARTS.items():
        if family in architecture:
            return parts
    raise SystemExit(f"benchmarks/peers/parts.py does not know the parts of {architecture}")


def read_config(weights: Path) -> dict[str, str]:
    """Read config.json of a folder of timm's format."""
    config: dict[str, str] = json.loads((weights / "config.json").read_text())
    return config


def count_classes(images: Path) -> int:
    """Give the number of classes of an image folder."""
    return sum(1 for folder in (images / "train").iterdir() if folder.is_dir())
