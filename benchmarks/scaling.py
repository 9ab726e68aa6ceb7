"""What several processes cost: weak scaling on a CPU, and a prediction for GPUs.

    python -m benchmarks.scaling [--ranks 1 2 4 8] [--model resnet18] [--size 64] [--batch 8]
    python -m benchmarks.scaling --predict STEP_MS GRADIENT_MB BANDWIDTH_GB_S RANKS

Every process has one thread and takes the same work: steps of the bare module, then steps of the
module in DDP as hftune wraps it, then the all-reduce of its gradients alone, in turns. The bare
steps run beside each other as well, so that processes which share a core share it in both columns.
Prints a Markdown table with medians.
"""

import argparse
import copy
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

# Backward is two thirds of a step; DDP sends gradients in buckets of this many bytes.
BACKWARD_SHARE = 2 / 3
BUCKET = 25 * 2**20
# Seconds between two devices for a message without content.
LATENCY = 10e-6


@dataclass(frozen=True, kw_only=True)
class Work:
    """What every rank does. `folder` is where the ranks meet and rank 0 leaves the medians."""

    model: str
    size: int
    batch: int
    steps: int
    repeats: int
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Row:
    """Median seconds with some number of ranks: a bare step, one in DDP, an all-reduce alone."""

    ranks: int
    bare: float
    wrapped: float
    reduce: float


def all_reduce_seconds(num_bytes: float, *, bandwidth: float, ranks: int) -> float:
    """Give the seconds of an all-reduce over a tree; `bandwidth` is in bytes/s and device."""
    hops = 2 * math.ceil(math.log2(ranks))
    return 2 * (ranks - 1) / ranks * num_bytes / bandwidth + hops * LATENCY


def predicted_efficiency(
    step: float, num_bytes: float, *, bandwidth: float, ranks: int, accumulation: int = 1
) -> float:
    """Give the share of `ranks` devices' speed that is left, 0..1.

    `step` are the seconds of one micro-batch on one device, `num_bytes` those of the gradients that
    train. What does not fit beside the backward pass is waited for, and so is the last bucket,
    which is full when there is nothing left to compute.
    """
    exchange = all_reduce_seconds(num_bytes, bandwidth=bandwidth, ranks=ranks)
    last = exchange * min(1.0, BUCKET / num_bytes)
    waited = max(last, exchange - BACKWARD_SHARE * step)
    return accumulation * step / (accumulation * step + waited)


def measure(ranks: int, work: Work) -> Row:
    """Start `ranks` processes and give what rank 0 found."""
    multiprocessing.start_processes(_rank, args=(ranks, work), nprocs=ranks, start_method="fork")
    values = (work.folder / f"{ranks}.txt").read_text().split()
    bare, wrapped, reduce = map(float, values)
    return Row(ranks=ranks, bare=bare, wrapped=wrapped, reduce=reduce)


def _rank(rank: int, ranks: int, work: Work) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{work.folder / f'meeting-{ranks}'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=ranks)
    torch.manual_seed(0)
    bare = timm.create_model(work.model, num_classes=10).to(memory_format=torch.channels_last)
    wrapped = DistributedDataParallel(copy.deepcopy(bare), gradient_as_bucket_view=True)
    images = torch.randn(work.batch, 3, work.size, work.size)
    images = images.to(memory_format=torch.channels_last)
    flat = torch.zeros(sum(value.numel() for value in bare.parameters()))
    seen: list[list[float]] = [[], [], []]
    for _ in range(1 + work.repeats):
        for times, action in zip(
            seen,
            (
                lambda: _step(bare, images),
                lambda: _step(wrapped, images),
                lambda: distributed.all_reduce(flat),
            ),
            strict=True,
        ):
            times.append(_slowest(action, work.steps))
    if rank == 0:  # the first round warms up
        medians = [statistics.median(times[1:]) for times in seen]
        (work.folder / f"{ranks}.txt").write_text(" ".join(map(str, medians)))
    distributed.destroy_process_group()


def _step(module: nn.Module, images: torch.Tensor) -> None:
    module(images).square().mean().backward()
    module.zero_grad(set_to_none=True)


def _slowest(action: Callable[[], None], steps: int) -> float:
    """Give the seconds of one of `steps` actions on the rank that takes longest (collective)."""
    distributed.barrier()
    start = time.perf_counter()
    for _ in range(steps):
        action()
    taken = torch.tensor((time.perf_counter() - start) / steps, dtype=torch.float64)
    distributed.all_reduce(taken, op=distributed.ReduceOp.MAX)
    return float(taken)


def show(rows: list[Row], cores: int) -> None:
    """Print the table; the serial column does all ranks' work on the same cores, one by one."""
    print("| ranks | bare step | in DDP | all-reduce | DDP / bare | against serial |")
    print("|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        serial = rows[0].bare / rows[0].ranks * row.ranks / min(row.ranks, cores)
        print(
            f"| {row.ranks} | {1e3 * row.bare:.0f} ms | {1e3 * row.wrapped:.0f} ms "
            f"| {1e3 * row.reduce:.0f} ms | {row.bare / row.wrapped:.0%} "
            f"| {serial / row.wrapped:.0%} |"
        )


def main() -> None:
    """Measure each number of ranks, or predict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", nargs="+", type=int, default=(1, 2, 4, 8))
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--predict", nargs=4, type=float, metavar=("MS", "MB", "GB_S", "RANKS"))
    wanted = parser.parse_args()
    if wanted.predict is not None:
        step, size, bandwidth, ranks = wanted.predict
        share = predicted_efficiency(
            step / 1e3, size * 1e6, bandwidth=bandwidth * 1e9, ranks=int(ranks)
        )
        print(f"{share:.1%} of {int(ranks)} devices")
        return
    cores = len(os.sched_getaffinity(0))
    print(f"torch {torch.__version__}, gloo, {cores} cores, one thread per rank")
    print(f"{wanted.model}, {wanted.batch} images of {wanted.size} pixels per rank\n")
    with tempfile.TemporaryDirectory() as folder:
        work = Work(
            model=wanted.model, size=wanted.size, batch=wanted.batch, steps=wanted.steps,
            repeats=wanted.repeats, folder=Path(folder),
        )  # fmt: skip
        show([measure(ranks, work) for ranks in wanted.ranks], cores)


if __name__ == "__main__":
    main()
