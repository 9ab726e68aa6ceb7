"""What folding batch norm gains in an evaluation, and how many images best go through at once.

    python benchmarks/evaluation.py [--models NAME ...] [--images 64] [--repeats 5]

On a CPU times are those of the processor, so that other programs count for little; on a GPU those
of the clock. They are medians of turns, and only their ratios mean anything. Weights are random.
Prints Markdown.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import timm
import torch
from torch import Tensor, nn

from hftune.model.fused import find_pairs, fused

MODELS = (
    "tf_efficientnet_lite0",
    "efficientnet_b0",
    "mobilenetv3_large_100",
    "resnet18",
    "resnet50",
    "regnety_016",
    "densenet121",
    "convnext_atto",
    "vit_tiny_patch16_224",
)
SHAPE = (3, 224, 224)
SIZES = (8, 16, 32, 64)


def trained(name: str, device: torch.device) -> nn.Module:
    """Build an architecture whose batch norms have seen a batch."""
    torch.manual_seed(0)
    module = timm.create_model(name, num_classes=10)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0  # what the batch says, and nothing of the start
    module.to(device, memory_format=torch.channels_last).train()
    module(torch.randn(4, *SHAPE, device=device))
    return module.eval()


def seconds(works: Mapping[str, Callable[[], object]], *, repeats: int) -> dict[str, float]:
    """Give the median seconds of each work, all of them taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for repeat in range(repeats + 1):
        for name, work in works.items():
            before = now()
            work()
            if repeat:  # the first warms up
                taken[name].append(now() - before)
    return {name: statistics.median(times) for name, times in taken.items()}


def now() -> float:
    """Give the processor's time, or the clock's once the GPU has done all that was asked."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def measure(name: str, images: Tensor, repeats: int) -> str:
    """Give one line of the table."""
    module = trained(name, images.device)
    before = now()
    pairs = find_pairs(module, SHAPE)
    search = now() - before
    folded = fused(module, pairs)
    said, wanted = folded(images), module(images)
    difference = float((said - wanted).abs().max() / wanted.abs().max())
    works: dict[str, Callable[[], object]] = {"plain": lambda: module(images)}
    works["folded"] = lambda: folded(images)
    for size in SIZES:
        works[str(size)] = lambda size=size: [folded(part) for part in images.split(size)]
    taken = seconds(works, repeats=repeats)
    norms = sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    by_size = " | ".join(f"{taken[str(SIZES[-1])] / taken[str(size)]:.2f}" for size in SIZES)
    return (
        f"| {name} | {len(pairs)} of {norms} | {taken['plain'] / taken['folded']:.2f} "
        f"| {difference:.0e} | {search / taken['plain'] * len(images):.0f} | {by_size} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--images", type=int, default=SIZES[-1])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = torch.randn(arguments.images, *SHAPE, generator=torch.Generator().manual_seed(1))
    images = images.to(device, memory_format=torch.channels_last)
    print(f"{device}, torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    sizes = " | ".join(f"{size} at once" for size in SIZES)
    print(
        "| model | folded | images/s, folded against not | largest difference "
        f"| search, in images | {sizes}, against {SIZES[-1]} |"
    )
    print("|---|---|---|---|---|" + "---|" * len(SIZES))
    with torch.inference_mode():
        for name in arguments.models:
            print(measure(name, images, arguments.repeats), flush=True)


if __name__ == "__main__":
    main()
