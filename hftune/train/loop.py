"""The loop: what happens is written where it happens."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from hftune.core import Model, Progress, RunPlan, Split, Splits
from hftune.train.best import note_result, write_best
from hftune.train.checkpoint import (
    Memory,
    commit_checkpoint,
    newest_checkpoint,
    prune_checkpoints,
)
from hftune.train.control import Control
from hftune.train.evaluate import Judge, judge_module, make_judge
from hftune.train.plan import due, next_phase
from hftune.train.session import Session, open_session
from hftune.train.step import train_step
from hftune.train.tracking import Tracking
from hftune.train.world import make_accelerator

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a phase needs besides its session, the same for the whole run."""

    run: Path
    val: Split
    judge: Judge
    control: Control
    track: Tracking


def train(plan: RunPlan, model: Model, splits: Splits, run: Path) -> Progress:
    """Run the plan's remaining steps, from the newest whole checkpoint in `run` if there is one.

    Called by every rank. Changes `model` and writes into `run`. The returned progress has fewer
    steps than the plan when a stop signal or early stopping ended it.
    """
    trackers = plan.recipe.track.trackers
    accelerator = make_accelerator(plan.precision, trackers=trackers, folder=run)
    judge = make_judge(accelerator, plan.recipe, model.input_spec, labels=splits.labels)
    progress, memory = restore(run, model)
    with (
        Control(accelerator, plan) as control,
        Tracking(run, plan, accelerator, step=progress.step) as track,
    ):
        around = Surroundings(run=run, val=splits.val, judge=judge, control=control, track=track)
        while (number := next_phase(plan, progress)) is not None:
            progress.phase = number
            phase = plan.phases[number]
            session = open_session(
                accelerator, model, phase, plan=plan, split=splits.train, memory=memory
            )
            logger.info("steps %d to %d train: %s", progress.step, phase.stop, phase.label)
            stopped = run_phase(session, progress, around)
            memory = session.close()
            if stopped:
                break
    return progress


def run_phase(session: Session, progress: Progress, around: Surroundings) -> bool:
    """Take the phase's remaining steps; True when a signal ends the run here.

    Called by every rank. Advances `progress`, evaluates, and commits when asked and at the end.
    """
    plan, phase = session.plan, session.phase
    clock = time.monotonic()
    if progress.owes_evaluation:  # cut short by the last stop
        stop = not judge_now(session, progress, around)
        if stop or progress.ended_early or progress.step == phase.stop:
            save(session, progress, around)
            return stop
    for micro_batches in session.batches(progress.step, phase.stop):
        stats = train_step(session, micro_batches, step=progress.step)
        progress.step += 1
        progress.samples += stats.examples
        progress.skipped_steps += stats.skipped
        around.track.step(progress, stats, report=due(progress.step, plan.log_every, plan))
        judged = True
        if due(progress.step, plan.eval_every, plan):
            before = time.monotonic()
            judged = judge_now(session, progress, around)
            clock += time.monotonic() - before  # no training time
        wish = around.control.agree(progress.step)  # the same answer on every rank
        stop = wish.stop or not judged
        ends = progress.ended_early or progress.step == phase.stop
        if wish.save or stop or ends:
            progress.seconds += time.monotonic() - clock
            clock = time.monotonic()
            save(session, progress, around)
        if stop or ends:
            return stop
    return False


def judge_now(session: Session, progress: Progress, around: Surroundings) -> bool:
    """Evaluate, note the result and keep the weights if they are the best (collective).

    False when a signal cut it short; the evaluation then stays owed.
    """
    progress.owes_evaluation = True
    session.share_buffers()
    module = session.judged_module()
    result = judge_module(
        around.judge, module, around.val, step=progress.step, control=around.control
    )
    session.train_mode()
    if result is None:
        return False
    progress.owes_evaluation = False
    around.track.result(result, progress)
    is_best = note_result(result, progress, session.plan.recipe)
    if is_best and session.accelerator.is_main_process:
        write_best(around.run, module, result)
    return True


def save(session: Session, progress: Progress, around: Surroundings) -> None:
    """Commit a checkpoint and drop the ones that are too many; rank 0 writes, all wait."""
    if session.accelerator.is_main_process:
        folder = around.run / CHECKPOINTS
        commit_checkpoint(
            folder,
            progress,
            module=session.module,
            memory=session.memory(),
            plan_digest=session.plan.digest,
        )
        prune_checkpoints(folder, keep=session.plan.recipe.save.keep)
    session.accelerator.wait_for_everyone()  # collective


def restore(run: Path, model: Model) -> tuple[Progress, Memory]:
    """Load the newest whole checkpoint into `model`, or give a fresh start."""
    checkpoint = newest_checkpoint(run / CHECKPOINTS)
    if checkpoint is None:
        return Progress(), Memory()
    model.module.load_state_dict(checkpoint.weights)
    logger.info("continuing after step %d", checkpoint.progress.step)
    return checkpoint.progress, checkpoint.memory
