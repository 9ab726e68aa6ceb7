"""metrics.jsonl always; trackers where the recipe names some; a live view or plain lines."""

import contextlib
import json
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from accelerate import Accelerator

from hftune.core import EvalResult, Progress, RunPlan
from hftune.files import disk_errors, write_text
from hftune.train.bad_images import BadImages
from hftune.train.machine_memory import own_memory, peak_memory
from hftune.train.overflow import skips_text
from hftune.train.plan import best_of
from hftune.train.run_facts import METRICS_FILE
from hftune.train.screen import Screen
from hftune.train.session import Session
from hftune.train.status import Pace
from hftune.train.step import StepStats
from hftune.train.trackers import Point, Trackers, point_of, rate_name
from hftune.train.waiting import Waiting

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
        self.start = start
        self.last_time = time.monotonic()
        self.last_step = start.step
        self.skips_told = 0
        self.waiting = Waiting()
        self.waited = 0.0
        self.losses: list[torch.Tensor] = []
        self.scales: dict[str, float] = {}
        self.screen: Screen | None = None
        self.trackers: Trackers | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Open the file, the trackers and the screen."""
        if self.accelerator.is_main_process:
            told = cut_back(self.path, step=self.start.step, owed=self.start.owes_evaluation)
            with contextlib.ExitStack() as stack:
                if self.plan.recipe.track.trackers:
                    trackers = Trackers(self.plan.recipe, self.path.parent, told=told)
                    self.trackers = stack.enter_context(trackers)
                self.screen = stack.enter_context(Screen(self.plan, self.start))
                self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the screen and the trackers."""
        self._stack.close()

    def begin(self, session: Session) -> None:
        """Take note of the phase that begins: its name, and the rates of its parameter groups."""
        groups = session.optimizer.param_groups
        self.scales = {rate_name(group["label"]): group["scale"] for group in groups}
        if self.screen is not None:
            self.screen.phase = session.phase.label

    def step(self, progress: Progress, stats: StepStats, *, waited: float, report: bool) -> None:
        """Count a step; when `report`, write the mean loss since the last report (collective).

        `waited` are the seconds in which this rank has waited for data so far.
        """
        self.losses.append(stats.loss)  # a device scalar: no sync until the report
        self.waited = waited
        if report:
            self._report(progress, stats)
        elif self.screen is not None:
            self.screen.step(progress)

    def evaluating(self, progress: Progress, share: float) -> None:
        """Say on the screen how far an evaluation is."""
        if self.screen is not None:
            self.screen.evaluating(progress, share)

    def result(self, result: EvalResult, progress: Progress) -> None:
        """Write an evaluation that `progress` knows of."""
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
        best = progress.best_value
        more = {} if best is None else {f"best/{best_of(self.plan.recipe)}": best}
        self._write(entry, more, progress)
        if self.screen is not None:
            self.screen.result(result, progress)
        self.last_time = time.monotonic()  # evaluation is no training time
        self.last_step = progress.step
        self.waiting.share(self.waited)  # nor is the waiting before it part of the next report

    def saved(self, progress: Progress) -> None:
        """Note that a checkpoint was committed just now."""
        if self.screen is not None:
            self.screen.saved(progress)

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
        self._write(entry, {}, progress)

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
        rates = {name: stats.rate * scale for name, scale in self.scales.items()}
        self._write(entry, {f"lr/{name}": one for name, one in rates.items()}, progress)
        if self.screen is not None:
            memory = own_memory(self.accelerator.device)
            pace = Pace(
                loss=loss,
                rates=(min(rates.values()), max(rates.values())),
                images_per_second=rate,
                waiting=waiting,
                memory=memory,
                peak=max(memory, peak_memory(self.accelerator.device)),
            )
            self.screen.report(progress, pace, bad=len(bad))
            self._hint(progress, waiting)

    def _hint(self, progress: Progress, waiting: float) -> None:
        hint = self.waiting.hint(waiting, workers=self.plan.recipe.data.workers)
        if hint is not None:
            logger.info(hint)
        if progress.skipped_steps > self.skips_told:
            logger.info(skips_text(progress.skipped_steps))
            self.skips_told = progress.skipped_steps

    def _write(
        self, entry: Mapping[str, object], more: Mapping[str, float], progress: Progress
    ) -> None:
        if self.accelerator.is_main_process:
            with disk_errors(self.path), self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")
        if self.trackers is not None:
            self.trackers.log(entry, more, progress=progress)

    def _epoch(self, progress: Progress) -> float:
        return round(progress.step / self.plan.steps_per_epoch, 4)


def cut_back(path: Path, *, step: int, owed: bool) -> set[Point]:
    """Drop the lines of metrics.jsonl after `step`, and a last line that was cut short.

    With `owed` the evaluation at `step` is still to come: a line of it was left by a life that
    ended before its next checkpoint. Gives all that the file told until now.
    """
    told: set[Point] = set()
    if not path.exists():
        write_text(path, "")
        return told
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # the process was killed while it wrote this line
        told.add(point_of(entry))
        again = owed and entry["kind"] == "eval" and entry["step"] == step
        if entry["step"] <= step and not again:
            kept.append(line + "\n")
    write_text(path, "".join(kept))
    return told


def drop_lines(path: Path, *, kind: str) -> None:
    """Drop the lines of one kind from a whole metrics.jsonl."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    write_text(path, "".join(line for line in lines if json.loads(line)["kind"] != kind))
