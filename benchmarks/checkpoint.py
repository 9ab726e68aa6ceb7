"""What a checkpoint costs: the time to commit one, as a share of the default saving interval.

    python benchmarks/checkpoint.py [--models NAME ...] [--repeats 3] [--folder FOLDER]

For each timm architecture: random weights with AdamW's two moments, all parameters trainable,
saved as a run saves them (copied from the device, written, flushed to the disk, hashed, renamed),
and read back with every digest verified. Prints a Markdown table with medians.
"""

import argparse
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import timm
import torch

from hftune.core import Progress
from hftune.recipe.schema import SaveRecipe
from hftune.train.checkpoint import Memory, commit_checkpoint, read_checkpoint
from hftune.units import format_size, parse_duration

MODELS = ("tf_efficientnet_lite0", "resnet50", "vit_base_patch16_224", "vit_large_patch16_224")
LARGEST_SHARE = 0.02


def moments_of(module: torch.nn.Module) -> Memory:
    """Give moments as AdamW keeps them for every parameter of `module`."""
    return Memory(
        moments={
            name: {
                "step": torch.tensor(1.0),
                "exp_avg": torch.randn_like(value),
                "exp_avg_sq": torch.rand_like(value),
            }
            for name, value in module.named_parameters()
        }
    )


def measure(name: str, folder: Path, repeats: int) -> tuple[int, float, float]:
    """Give bytes, and the median seconds to commit and to read back."""
    module = timm.create_model(name, num_classes=10)
    memory = moments_of(module)
    commits, reads = [], []
    for repeat in range(repeats):
        before = time.perf_counter()
        path = commit_checkpoint(
            folder, Progress(step=repeat), module=module, memory=memory, plan_digest=""
        )
        commits.append(time.perf_counter() - before)
        before = time.perf_counter()
        read_checkpoint(path)
        reads.append(time.perf_counter() - before)
        size = sum(file.stat().st_size for file in path.iterdir())
        shutil.rmtree(path)
    return size, statistics.median(commits), statistics.median(reads)


def main() -> None:
    """Measure each model and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    wanted = parser.parse_args()
    interval = parse_duration(SaveRecipe().every)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}")
    print(f"share: of the default interval, {SaveRecipe().every}; limit {LARGEST_SHARE:.0%}\n")
    print("| model | checkpoint | to save | share | to read and verify |")
    print("|---|---:|---:|---:|---:|")
    for name in wanted.models:
        with tempfile.TemporaryDirectory(dir=wanted.folder) as folder:
            size, commit, read = measure(name, Path(folder), wanted.repeats)
        print(
            f"| {name} | {format_size(size)} | {commit:.2f} s | {commit / interval:.2%} "
            f"| {read:.2f} s |"
        )


if __name__ == "__main__":
    main()
