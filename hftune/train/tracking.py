"""metrics.jsonl always; other trackers through Accelerate; a bar or plain lines on the screen."""

import json
import logging
import math
import os
import sys
import time
from pathlib import Path
from typing import Self

import torch
from accelerate import Accelerator
from tqdm import tqdm

from hftune.core import EvalResult, Progress, RunPlan
from hftune.files import disk_errors, write_text
from hftune.train.bad_images import BadImages
from hftune.train.overflow import skips_text
from hftune.train.run_facts import METRICS_FILE
from hftune.train.step import StepStats
from hftune.train.waiting import Waiting
from hftune.units import format_duration

logger = logging.getLogger(__name__)

# The kind of a line that tells of averaged weights; learning curves leave it out.
AVERAGE = "average"


class Tracking:
    """Writes what happens to disk, to the screen and to the trackers; on rank 0 only.

    Use as a context manager around the loop. `metrics.jsonl` is cut back to `start`.
    """

    def __init__(
        self, run: Path, plan: RunPlan, accelerator: Accelerator, *, start: Progress, bad: BadImages
    ) -> None:
        self.path = run / METRICS_FILE
        self.plan = plan
        self.accelerator = accelerator
        self.bad = bad
        self.first_step = start.step
        self.owes_evaluation = start.owes_evaluation
        self.started = time.monotonic()
        self.last_time = self.started
        self.last_step = start.step
        self.skips_told = 0
        self.waiting = Waiting()
        self.waited = 0.0
        self.losses: list[torch.Tensor] = []
        self.bar: tqdm[None] | None = None

    def __enter__(self) -> Self:
        """Open the file, the bar and the trackers."""
        if self.accelerator.is_main_process:
            cut_back(self.path, step=self.first_step, owed=self.owes_evaluation)
            self.bar = _open_bar(self.plan.total_steps, self.first_step)
        if self.plan.recipe.track.trackers:
            self.accelerator.init_trackers(self.plan.recipe.run)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bar and the trackers."""
        if self.bar is not None:
            self.bar.close()
        if self.plan.recipe.track.trackers:
            self.accelerator.end_training()

    def step(self, progress: Progress, stats: StepStats, *, waited: float, report: bool) -> None:
        """Count a step; when `report`, write the mean loss since the last report (collective).

        `waited` are the seconds in which this rank has waited for data so far.
        """
        self.losses.append(stats.loss)  # a device scalar: no sync until the report
        self.waited = waited
        if self.bar is not None:
            self.bar.update()
        if report:
            self._report(progress, stats)

    def result(self, result: EvalResult, progress: Progress) -> None:
        """Write an evaluation."""
        entry = {
            "kind": "eval",
            "step": progress.step,
            "epoch": self._epoch(progress),
            "split": result.split,
            "loss": result.loss,
            "values": dict(result.values),
            "num_examples": result.num_examples,
            "num_bad": result.num_bad,
        }
        self._write(entry)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in result.values.items())
        self._say(
            f"step {progress.step}/{self.plan.total_steps}  {result.split}: "
            f"loss {result.loss:.4f}  {shown}  ({result.num_examples} images{_left_out(result)})"
        )
        self.last_time = time.monotonic()  # evaluation is no training time
        self.last_step = progress.step
        self.waiting.share(self.waited)  # nor is the waiting before it part of the next report

    def average(self, result: EvalResult, progress: Progress, *, points: int) -> None:
        """Write the evaluation of the mean of `points` weights, in place of an earlier one."""
        if self.accelerator.is_main_process:
            drop_lines(self.path, kind=AVERAGE)
        entry = {
            "kind": AVERAGE,
            "step": progress.step,
            "epoch": self._epoch(progress),
            "points": points,
            "split": result.split,
            "loss": result.loss,
            "values": dict(result.values),
            "num_examples": result.num_examples,
            "num_bad": result.num_bad,
        }
        self._write(entry)

    def _report(self, progress: Progress, stats: StepStats) -> None:
        summed = torch.stack(self.losses).mean()
        self.losses.clear()
        # Each rank holds its share of the mean loss, and its own bad images and waiting.
        waiting = self.waiting.share(self.waited) / self.plan.world_size
        own = torch.stack([summed, *summed.new_tensor([len(self.bad.waiting), waiting])])
        total = self.accelerator.reduce(own, reduction="sum")  # collective
        loss, replaced, waiting = total.tolist()  # host-device sync
        bad = self.bad.share() if replaced else ()
        now = time.monotonic()
        images = (progress.step - self.last_step) * self.plan.batch_size
        rate = images / max(now - self.last_time, 1e-9)
        self.last_time, self.last_step = now, progress.step
        entry = {
            "kind": "train",
            "step": progress.step,
            "epoch": self._epoch(progress),
            "loss": loss,
            "lr": stats.rate,
            "images_per_second": round(rate, 3),
            "waiting": round(waiting, 4),
            "skipped_steps": progress.skipped_steps,
            "bad_images": len(bad),
            "replaced_images": int(replaced),
        }
        if math.isfinite(stats.grad_norm):  # the loss scaler skips a step whose norm is not
            entry["grad_norm"] = stats.grad_norm
        self._write(entry)
        pace = f"{rate:.1f} images/s  waiting for data {waiting:.0%}"
        self._show(progress, f"loss {loss:.4f}  lr {stats.rate:.2e}  {pace}", rate=rate)
        hint = self.waiting.hint(waiting, workers=self.plan.recipe.data.workers)
        if hint is not None:
            self._say(hint)
        if progress.skipped_steps > self.skips_told:
            self._say(skips_text(progress.skipped_steps))
            self.skips_told = progress.skipped_steps

    def _show(self, progress: Progress, shown: str, *, rate: float) -> None:
        if self.bar is not None:
            self.bar.set_postfix_str(shown)
            return
        left = (self.plan.total_steps - progress.step) * self.plan.batch_size / max(rate, 1e-9)
        self._say(
            f"step {progress.step}/{self.plan.total_steps}  epoch {self._epoch(progress):.2f}  "
            f"{shown}  {format_duration(left)} left"
        )

    def _say(self, text: str) -> None:
        if self.bar is not None:
            self.bar.clear()
        if self.accelerator.is_main_process:
            logger.info(text)
        if self.bar is not None:
            self.bar.refresh()

    def _write(self, entry: dict[str, object]) -> None:
        if self.accelerator.is_main_process:
            with disk_errors(self.path), self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")
        if self.plan.recipe.track.trackers:
            step = entry["step"]
            assert isinstance(step, int)
            self.accelerator.log(_flat(entry), step=step)

    def _epoch(self, progress: Progress) -> float:
        return round(progress.step / self.plan.steps_per_epoch, 4)


def cut_back(path: Path, *, step: int, owed: bool) -> None:
    """Drop the lines of metrics.jsonl after `step`, and a last line that was cut short.

    With `owed` the evaluation at `step` is still to come: a line of it was left by a life that
    ended before its next checkpoint.
    """
    if not path.exists():
        write_text(path, "")
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # the process was killed while it wrote this line
        again = owed and entry["kind"] == "eval" and entry["step"] == step
        if entry["step"] <= step and not again:
            kept.append(line + "\n")
    write_text(path, "".join(kept))


def drop_lines(path: Path, *, kind: str) -> None:
    """Drop the lines of one kind from a whole metrics.jsonl."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    write_text(path, "".join(line for line in lines if json.loads(line)["kind"] != kind))


def _left_out(result: EvalResult) -> str:
    return f", {result.num_bad} more cannot be read" if result.num_bad else ""


def _open_bar(total: int, done: int) -> "tqdm[None] | None":
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return None
    return tqdm(total=total, initial=done, unit="step", dynamic_ncols=True, leave=False)


def _flat(entry: dict[str, object]) -> dict[str, object]:
    """Give an entry as the flat mapping of numbers that trackers take."""
    kind = str(entry["kind"] if entry["kind"] == AVERAGE else entry.get("split", entry["kind"]))
    flat: dict[str, object] = {}
    for name, value in entry.items():
        if isinstance(value, dict):
            flat.update({f"{kind}/{inner}": number for inner, number in value.items()})
        elif isinstance(value, (int, float)) and name != "step":
            flat[f"{kind}/{name}"] = value
    return flat
