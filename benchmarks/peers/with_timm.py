"""timm's train.py from a checkout of its repository: `--options CHECKOUT` names the folder.

It cannot freeze. Its own lines give the seconds of its steps, and the accuracy.
"""

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.peers.parts import count_classes, read_config
from benchmarks.peers.task import MARK, WARM_UP_STEPS, Task, read_task, say

# Train: 0 [   7/8 (100%)]  Loss: 0.6 (0.7)  Time: 4.1s,    7.8/s  (4.2s,    7.6/s)  LR: ...
_STEP = re.compile(r"Train: \d+ \[.*?Time: (?P<seconds>[\d.]+)s")
# Test: [   3/3]  Time: 0.5 (0.6)  Loss: 0.5 (0.5)  Acc@1:  75.000 ( 80.469)  Acc@5: ...
_JUDGED = re.compile(
    r"Test: \[ *(?P<at>\d+)/(?P<last>\d+)\].*Acc@1: *[\d.]+ \( *(?P<mean>[\d.]+)\)"
)


def main(task: Task) -> None:
    """Run the script, and tell what its lines say."""
    if task.trains != "all" or task.mode != "train":
        raise SystemExit("timm's train.py trains everything and nothing else")
    (checkout,) = task.options
    process = subprocess.Popen(
        command(task, Path(checkout)),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1,
    )  # fmt: skip
    assert process.stdout is not None
    seconds = read_steps(process.stdout)
    if process.wait() != 0:
        raise SystemExit(process.returncode)
    after = seconds[WARM_UP_STEPS:]
    rate = task.batch_size * len(after) / sum(after) if after else None
    say("trained", images_per_second=rate, seconds=sum(seconds))


def command(task: Task, checkout: Path) -> list[str]:
    """Give the command line: AdamW at a constant rate, crops and flips, no other augmentation."""
    low = ["--amp", "--amp-dtype", "bfloat16"] if task.precision == "bf16" else []
    random = [
        *("--scale", str(task.min_scale), "1.0", "--hflip", "0.5"),
        *("--train-interpolation", "bicubic", "--color-jitter", "0"),
    ]
    return [
        *(sys.executable, str(checkout / "train.py"), str(task.images)),
        *("--train-split", "train", "--val-split", "val", "--num-classes"),
        str(count_classes(task.images)),
        *("--model", read_config(task.weights)["architecture"], "--pretrained"),
        *("--pretrained-path", str(task.weights / "model.safetensors")),
        *("--epochs", str(task.epochs), "--batch-size", str(task.batch_size)),
        *("--opt", "adamw", "--lr", str(task.lr), "--weight-decay", str(task.weight_decay)),
        *("--sched", "step", "--decay-epochs", "100000", "--warmup-epochs", "0"),
        *("--smoothing", "0", "--workers", str(task.workers), "--seed", str(task.seed)),
        *("--log-interval", "1", "--output", str(task.scratch)),
        *(random if task.augment else ["--no-aug"]),
        *low,
        *(["--channels-last"] if low else []),
        *task_device(),
    ]


def task_device() -> list[str]:
    """Give the device option: without it the script asks for a GPU."""
    import torch  # Slow to import, and not needed to read the script's lines.

    return [] if torch.cuda.is_available() else ["--device", "cpu"]


def read_steps(lines: Iterable[str]) -> list[float]:
    """Give the seconds of every step from the script's lines; tell of the first and of accuracy."""
    seconds: list[float] = []
    for line in lines:
        judged = _JUDGED.search(line)
        if judged is not None and judged["at"] == judged["last"]:
            say("judged", accuracy=float(judged["mean"]) / 100, balanced_accuracy=None)
        found = _STEP.search(line)
        if found is None:
            print(line.replace(MARK, ""), end="")
            continue
        if not seconds:
            say("first_step")
        seconds.append(float(found["seconds"]))
    return seconds


if __name__ == "__main__":
    main(read_task(__doc__))
