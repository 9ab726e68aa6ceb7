"""What every peer is asked to do, and how it tells what happened: lines of JSON on stdout."""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MARK = "BENCH "
# Steps that are left out of images/s: they start workers, choose kernels and touch memory first.
WARM_UP_STEPS = 2

Trains = Literal["all", "second-half", "head"]
Mode = Literal["train", "evaluate"]
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One fine-tuning, the same for every peer.

    `weights` is a folder in timm's Hub format; `images` holds train/CLASS/ and val/CLASS/.
    """

    weights: Path
    images: Path
    scratch: Path
    mode: Mode
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    trains: Trains
    augment: bool
    min_scale: float
    judge_every_epoch: bool
    workers: int
    precision: Precision
    seed: int
    processes: int
    options: tuple[str, ...]


def read_task(description: str) -> Task:
    """Read the command line of a peer."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True, help="an empty folder to write in")
    parser.add_argument("--mode", choices=("train", "evaluate"), default="train")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--trains", choices=("all", "second-half", "head"), default="all")
    parser.add_argument("--augment", action="store_true", help="random resized crop and flip")
    parser.add_argument("--min-scale", type=float, default=0.5, help="of the crop's area")
    parser.add_argument("--judge-every-epoch", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--options", nargs="*", default=(), help="further words for this peer")
    wanted = vars(parser.parse_args())
    return Task(**{**wanted, "options": tuple(wanted["options"])})


def say(event: str, **facts: object) -> None:
    """Print one fact for the runner, at once: it takes the time when the line arrives."""
    print(MARK + json.dumps({"event": event, **facts}), flush=True)


class Clock:
    """The training part by the peer's own clock: images/s after warm-up, and seconds in all.

    Evaluations amid training are in both figures. `speaks` is False on all processes but the first.
    """

    def __init__(self, *, speaks: bool = True) -> None:
        self.speaks = speaks
        self.started = self.warm = 0.0
        self.steps = self.images = 0

    def start(self) -> None:
        """Begin, before the first batch is asked for."""
        self.started = self.warm = _now()

    def step(self, images: int) -> None:
        """Count a step over `images`, over all processes, after it was taken."""
        self.steps += 1
        if self.steps == 1:
            _now()
            if self.speaks:
                say("first_step")
        if self.steps > WARM_UP_STEPS:
            self.images += images
        elif self.steps == WARM_UP_STEPS:
            self.warm = _now()

    def stop(self) -> None:
        """End, after the last step, and tell."""
        now = _now()
        if self.speaks:
            rate = self.images / (now - self.warm) if self.images else None
            say("trained", images_per_second=rate, seconds=now - self.started)


def _now() -> float:
    """Give the time once all that was asked of the device is done."""
    import torch  # Not every peer's own process needs it.

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
