"""The loop: what happens is written where it happens."""

import logging
import time
from contextlib import closing
from pathlib import Path

from hftune.core import Model, Progress, RunPlan, Splits
from hftune.train.average import check_mean, owes_average, takes_weights
from hftune.train.average_end import finish_average
from hftune.train.best import note_plateau, note_result, write_best
from hftune.train.checkpoint import (
    CHECKPOINTS,
    commit_checkpoint,
    prune_checkpoints,
    restore,
)
from hftune.train.control import Control
from hftune.train.evaluate import judge_module, make_judge
from hftune.train.guides import open_guides
from hftune.train.plan import due, next_phase
from hftune.train.session import Session, open_session
from hftune.train.step import train_step
from hftune.train.surroundings import Surroundings
from hftune.train.tracking import Tracking
from hftune.train.world import make_accelerator

logger = logging.getLogger(__name__)


def train(plan: RunPlan, model: Model, splits: Splits, run: Path) -> Progress:
    """Run the plan's remaining steps, from the newest whole checkpoint in `run` if there is one.

    Called by every rank. Changes `model` and writes into `run`. The returned progress has fewer
    steps than the plan when a stop signal or early stopping ended it.
    """
    trackers = plan.recipe.track.trackers
    accelerator = make_accelerator(plan.precision, trackers=trackers, folder=run)
    judge = make_judge(accelerator, plan.recipe, model.input_spec, labels=splits.labels, run=run)
    guides = open_guides(plan, model, judge)
    progress, memory = restore(run, model.module)
    check_mean(plan, progress, memory)
    with (
        Control(accelerator, plan) as control,
        Tracking(run, plan, accelerator, step=progress.step, bad=judge.bad) as track,
    ):
        around = Surroundings(
            run=run, train=splits.train, val=splits.val, judge=judge, guides=guides,
            control=control, track=track,
        )  # fmt: skip
        while (number := next_phase(plan, progress)) is not None:
            progress.phase = number
            phase = plan.phases[number]
            session = open_session(
                accelerator, model, phase, plan=plan, split=splits.train, memory=memory,
                guides=guides,
            )  # fmt: skip
            logger.info("steps %d to %d train: %s", progress.step, phase.stop, phase.label)
            stopped = run_phase(session, progress, around)
            memory = session.close()
            if stopped:
                return progress
        if owes_average(plan, progress):
            finish_average(plan, model, progress=progress, memory=memory, around=around)
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
    with closing(session.batches(progress.step, phase.stop)) as batches:  # ends the workers
        while True:
            ready = around.control.wait_for(batches)
            wish = around.control.agree(progress.step, ready)  # the same answer on every rank
            if wish.save:
                progress.seconds += time.monotonic() - clock
                clock = time.monotonic()
                save(session, progress, around)
            if wish.stop:
                return True
            assert ready.item is not None
            around.judge.bad.note(ready.item)
            stats = train_step(
                session, ready.item, step=progress.step, rate_factor=progress.plateau_factor
            )
            progress.step += 1
            if takes_weights(plan, progress.step):
                session.mean.take(session.module)
            progress.samples += stats.examples
            progress.skipped_steps += stats.skipped
            around.track.step(progress, stats, report=due(progress.step, plan.log_every, plan))
            judged = True
            if due(progress.step, plan.eval_every, plan):
                before = time.monotonic()
                judged = judge_now(session, progress, around)
                clock += time.monotonic() - before  # no training time
            if not judged or progress.ended_early or progress.step == phase.stop:
                progress.seconds += time.monotonic() - clock
                save(session, progress, around)
                return not judged


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
    note_plateau(result, progress, session.plan.recipe)
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
    around.control.note_save(progress.step)
    session.accelerator.wait_for_everyone()  # collective
