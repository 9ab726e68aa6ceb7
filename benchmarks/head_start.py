"""How a new head starts, and what that costs: timm's own values, nn.Linear's, normal and zero.

    python -m benchmarks.head_start [--seeds 5] [--steps 20 100 500] [--images 2624]

Real features are what EfficientNet-Lite0 gives for the solar cells of the package elpv-dataset,
computed once; drawn ones have the widths of a ResNet-18 and of a small ViT, and two classes whose
means differ. Only the head learns: AdamW at 1e-3, batches of 32. Prints a Markdown table: the loss
before the first step and test accuracy after each number of steps, as mean (sd) over the seeds.
"""

import argparse
import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hftune.data.seed_elpv import CLASSES, Cell, read_cells, split_cells
from hftune.model.head import start_head
from hftune.model.seed_backbone import ARCHITECTURE, write_backbone

STARTS = ("timm", "linear", "normal", "zero")
DRAWN = {"resnet18": 512, "vit_small_patch16_224": 384}
_BATCH = 32
_DISTANCE = 2.0  # between the means of two drawn classes of unit variance


@dataclass(frozen=True, kw_only=True)
class Task:
    """Features [N, D] and targets [N] to learn from, and others to judge by."""

    name: str
    architecture: str
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One head: its loss before the first step, and its accuracy after each number of steps."""

    first_loss: float
    accuracies: tuple[float, ...]


def real_task(num_images: int) -> Task:
    """Give the solar cells as EfficientNet-Lite0 sees them; runs the backbone once."""
    with tempfile.TemporaryDirectory() as folder:
        write_backbone(Path(folder))
        weights = load_file(Path(folder) / "model.safetensors")
    model = timm.create_model(ARCHITECTURE)
    model.load_state_dict(weights)
    model.reset_classifier(0)
    cells = {
        name: part[:: math.ceil(len(part) / num_images)]
        for name, part in split_cells(read_cells()).items()
    }
    seen = {
        name: (features_of(model.eval(), part), labels_of(part)) for name, part in cells.items()
    }
    return Task(
        name="solar cells", architecture=ARCHITECTURE, train=seen["train"], test=seen["test"]
    )


def features_of(model: nn.Module, cells: Sequence[Cell]) -> Tensor:
    """Give what the model's last layer before the head says about every cell, [N, D]."""
    transform = create_transform(**resolve_model_data_config(model))
    found = []
    with torch.no_grad():
        for start in range(0, len(cells), _BATCH):
            images = [
                Image.open(cell.path).convert("RGB") for cell in cells[start : start + _BATCH]
            ]
            found.append(model(torch.stack([transform(image) for image in images])))
    return torch.cat(found)


def labels_of(cells: Sequence[Cell]) -> Tensor:
    """Give the class of every cell, [N]."""
    return torch.tensor([CLASSES.index(cell.label) for cell in cells])


def drawn_task(architecture: str, width: int) -> Task:
    """Give two classes of normal features, rectified as a ResNet's are where it is one."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(width, generator=generator)
    direction *= _DISTANCE / direction.norm()

    def draw(number: int) -> tuple[Tensor, Tensor]:
        targets = torch.arange(number) % 2
        features = torch.randn(number, width, generator=generator)
        features += (targets[:, None] - 0.5) * direction
        return features.relu() if "resnet" in architecture else features, targets

    return Task(
        name=f"drawn, {width} wide", architecture=architecture, train=draw(1968), test=draw(656)
    )


def new_head(architecture: str, start: str, *, seed: int) -> nn.Linear:
    """Give a head for two classes as `start` begins it."""
    torch.manual_seed(seed)
    model = timm.create_model(architecture, num_classes=len(CLASSES))
    head = model.get_classifier()
    assert isinstance(head, nn.Linear)
    if start == "linear":
        head.reset_parameters()
    else:
        start_head(
            nn.ModuleDict({"head": head}), ["head"], num_classes=len(CLASSES), init=start, seed=seed
        )
    return head


def train(task: Task, start: str, *, seed: int, steps: Sequence[int]) -> Trained:
    """Train a head that begins as `start`; the batches depend on the seed alone."""
    head = new_head(task.architecture, start, seed=seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.05)
    features, targets = task.train
    with torch.inference_mode():
        first_loss = float(cross_entropy(head(features), targets))
    generator = torch.Generator().manual_seed(seed)
    accuracies = []
    for step in range(1, max(steps) + 1):
        rows = torch.randint(len(targets), (_BATCH,), generator=generator)
        cross_entropy(head(features[rows]), targets[rows]).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step in steps:
            accuracies.append(accuracy(head, *task.test))
    return Trained(first_loss=first_loss, accuracies=tuple(accuracies))


def accuracy(head: nn.Linear, features: Tensor, targets: Tensor) -> float:
    """Give the share of right answers."""
    with torch.inference_mode():
        return float((head(features).argmax(dim=1) == targets).float().mean())


def row(task: Task, start: str, found: Sequence[Trained]) -> str:
    """Give one line of the table."""
    columns = [
        [one.first_loss for one in found],
        *zip(*(one.accuracies for one in found), strict=True),
    ]
    shown = [
        f"{statistics.mean(values):.3f} ({statistics.stdev(values):.3f})" for values in columns
    ]
    return f"| {task.name} | `{task.architecture}` | {start} | {' | '.join(shown)} |"


def main() -> None:
    """Train every start on every task and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 100, 500])
    parser.add_argument("--images", type=int, default=2624, help="at most so many per split")
    wanted = parser.parse_args()
    steps = sorted(wanted.steps)
    tasks = [real_task(wanted.images), *(drawn_task(name, width) for name, width in DRAWN.items())]
    print(f"torch {torch.__version__}, timm {timm.__version__}, {wanted.seeds} seeds: mean (sd)\n")
    print(
        "| features | head of | start | first loss | "
        + " | ".join(f"accuracy after {n}" for n in steps)
        + " |"
    )
    print("|---|---|---|" + "---:|" * (1 + len(steps)))
    for task in tasks:
        for start in STARTS:
            found = [train(task, start, seed=seed, steps=steps) for seed in range(wanted.seeds)]
            print(row(task, start, found), flush=True)


if __name__ == "__main__":
    main()
