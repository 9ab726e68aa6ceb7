"""What the allocator costs a training step on a CPU: time, page faults and peak memory.

    python benchmarks/allocator.py [--repeats 3] [--steps 4] [--batch-size 32] [--threads 1]

EfficientNet-Lite0 at 224 pixels, channels last, fp32, AdamW, the batch in memory. Each way runs in
a process of its own, one after the other, repeat after repeat. Prints a Markdown table of medians:
processor time of a step, of which in the kernel, its ratio to the default allocator's, page faults
of a step, and peak memory. Elapsed time says little where others use the machine.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from hftune.train.allocator import find_machine, keep_memory, with_jemalloc

MODEL = "tf_efficientnet_lite0"
WARM_STEPS = 1


def measure(*, steps: int, batch_size: int, threads: int) -> dict[str, float]:
    """Train for some steps in this process; give the medians of a step, and the peak in MiB."""
    import timm  # not before the allocator is settled
    import torch
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = timm.create_model(MODEL, num_classes=2).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    images = torch.randn(batch_size, 3, 224, 224).to(memory_format=torch.channels_last)
    targets = torch.arange(batch_size) % 2
    rows = []
    for _ in range(WARM_STEPS + steps):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        cross_entropy(model(images), targets).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        after = resource.getrusage(resource.RUSAGE_SELF)
        system = after.ru_stime - before.ru_stime
        rows.append(
            {
                "elapsed": time.perf_counter() - start,
                "cpu": after.ru_utime - before.ru_utime + system,
                "system": system,
                "faults": after.ru_minflt - before.ru_minflt,
            }
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return medians(rows[WARM_STEPS:]) | {"peak": peak}


def medians(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Give the median of each column."""
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def ways() -> dict[str, tuple[str, dict[str, str]]]:
    """Give what is compared here: its name, what the process does, and its environment."""
    plain = dict(os.environ)
    found = {"default": ("default", plain), "glibc, memory kept": ("keep", plain)}
    library = find_machine().jemalloc
    if library is not None:
        found["jemalloc, memory kept"] = ("default", with_jemalloc(plain, library))
    return found


def run_way(way: str, environment: dict[str, str], wanted: argparse.Namespace) -> dict[str, float]:
    """Measure one way in a new process."""
    words = [sys.executable, __file__, "--way", way, "--steps", str(wanted.steps)]
    words += ["--batch-size", str(wanted.batch_size), "--threads", str(wanted.threads)]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=True)
    values: dict[str, float] = json.loads(done.stdout)
    return values


def print_table(results: dict[str, list[dict[str, float]]]) -> None:
    """Print the medians over the repeats."""
    print("| allocator | step, CPU s | in the kernel | ratio | elapsed s | faults | peak MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    base = medians(results["default"])["cpu"]
    for name, rows in results.items():
        row = medians(rows)
        print(
            f"| {name} | {row['cpu']:.2f} | {row['system']:.2f} | {base / row['cpu']:.2f} "
            f"| {row['elapsed']:.2f} | {row['faults']:,.0f} | {row['peak']:,.0f} |"
        )


def main() -> None:
    """Measure each way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--way", choices=("default", "keep"), help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.way is not None:
        if wanted.way == "keep" and not keep_memory():
            sys.exit("this C library cannot be told to keep its memory")
        size, threads = wanted.batch_size, wanted.threads
        print(json.dumps(measure(steps=wanted.steps, batch_size=size, threads=threads)))
        return
    found = ways()
    results: dict[str, list[dict[str, float]]] = {name: [] for name in found}
    for _ in range(wanted.repeats):
        for name, (way, environment) in found.items():
            results[name].append(run_way(way, environment, wanted))
    print_table(results)


if __name__ == "__main__":
    main()
