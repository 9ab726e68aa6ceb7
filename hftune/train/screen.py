"""What a run shows while it trains: a live view where there is one, else a line per report."""

import logging
import time
from dataclasses import replace
from typing import Self

from hftune.core import EvalResult, Progress, RunPlan
from hftune.train.best import metric_value
from hftune.train.plan import best_of
from hftune.train.status import Pace, Status, View, open_view, plain_line

logger = logging.getLogger(__name__)


class Screen:
    """Keeps where the run is, and shows it. On rank 0 only; a context manager around the loop.

    `phase` is what trains, in words.
    """

    def __init__(self, plan: RunPlan, start: Progress) -> None:
        self.plan = plan
        self.phase = ""
        metric = best_of(plan.recipe)
        self._view: View | None = None
        self._status = Status(
            run=plan.recipe.run, step=start.step, total_steps=plan.total_steps,
            steps_per_epoch=plan.steps_per_epoch, phase=self.phase,
            metric="val loss" if metric == "loss" else metric,
            best=start.best_value, best_step=start.best_step, skipped_steps=start.skipped_steps,
        )  # fmt: skip
        self._first_step = start.step
        self._began = self._judged_from = time.monotonic()
        self._saved_at = 0.0
        self._judging: float = 0.0  # seconds that the last evaluation took
        self._stepping: float | None = None  # seconds per step, by the last report

    def __enter__(self) -> Self:
        """Open the view, if whoever started the run gave one."""
        self._view = open_view()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last of it on the screen."""
        if self._view is not None:
            self._view.close()

    def step(self, progress: Progress) -> None:
        """Show that a step was taken."""
        if self._view is not None:
            self._view.show(self._now(progress))

    def report(self, progress: Progress, pace: Pace, *, bad: int) -> None:
        """Show what a report measured; `bad` images are new since the last one."""
        self._stepping = self.plan.batch_size / max(pace.images_per_second, 1e-9)
        found = self._status.bad_images + bad
        self._status = replace(self._status, pace=pace, bad_images=found)
        status = self._now(progress)
        if self._view is None:
            logger.info(plain_line(status))
        else:
            self._view.show(status)

    def evaluating(self, progress: Progress, share: float) -> None:
        """Show which share 0..1 of an evaluation is done; 0 begins one."""
        if share == 0:
            self._judged_from = time.monotonic()
        if self._view is not None:
            self._view.show(replace(self._now(progress), doing=f"evaluating, {share:.0%} done"))

    def result(self, result: EvalResult, progress: Progress) -> None:
        """Show what an evaluation gave, and keep a line of it in either case."""
        self._judging = time.monotonic() - self._judged_from
        self._status = replace(
            self._status,
            last=metric_value(result, best_of(self.plan.recipe)),
            last_step=progress.step,
            best=progress.best_value,
            best_step=progress.best_step,
        )
        shown = "  ".join(f"{name} {value:.4f}" for name, value in result.values.items())
        left_out = f", {result.num_bad} more cannot be read" if result.num_bad else ""
        logger.info(
            f"step {progress.step}/{self.plan.total_steps}  {result.split}: "
            f"loss {result.loss:.4f}  {shown}  ({result.num_examples} images{left_out})"
        )
        self.step(progress)

    def saved(self, progress: Progress) -> None:
        """Show that a checkpoint was committed just now."""
        self._saved_at = time.monotonic()
        self._status = replace(self._status, saved_step=progress.step)
        self.step(progress)

    def _now(self, progress: Progress) -> Status:
        step, plan = progress.step, self.plan
        taken, now = step - self._first_step, time.monotonic()
        stepping = self._stepping
        if stepping is None and taken:  # before the first report
            stepping = (now - self._began) / taken
        ahead = plan.total_steps - step
        of_epoch = min(ahead, -step % plan.steps_per_epoch)
        judging = self._judging * evaluations_ahead(step, plan)
        saved = self._status.saved_step is not None
        return replace(
            self._status,
            step=step,
            phase=self.phase,
            skipped_steps=progress.skipped_steps,
            epoch_left=None if stepping is None else of_epoch * stepping,
            left=None if stepping is None else ahead * stepping + judging,
            saved_ago=now - self._saved_at if saved else None,
        )


def evaluations_ahead(step: int, plan: RunPlan) -> int:
    """Count the evaluations that are due after more than `step` steps."""
    total, every = plan.total_steps, plan.eval_every
    at_end = step < total and total % every != 0
    return total // every - step // every + at_end
