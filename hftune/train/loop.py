"""The loop: what happens is written where it happens."""

import logging
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from hftune.core import Model, Progress, RunPlan, Splits
from hftune.data.workers import lost_workers
from hftune.train.allocator import give_memory_back
from hftune.train.arithmetic import arithmetic_text, describe_arithmetic, fast_arithmetic
from hftune.train.average import check_mean, owes_average, takes_weights
from hftune.train.average_end import finish_average
from hftune.train.best import BestOutputs
from hftune.train.between_steps import judge_now, save, send_last
from hftune.train.checkpoint import restore
from hftune.train.control import Control
from hftune.train.evaluate import make_judge
from hftune.train.feature_cache import KeepingStopped
from hftune.train.finite import explain_bad_step
from hftune.train.guides import open_guides
from hftune.train.keep_frozen import keep_frozen
from hftune.train.mirror import END_SECONDS, open_mirror
from hftune.train.plan import due, next_phase
from hftune.train.session import Session, open_session
from hftune.train.step import BadStep, train_step
from hftune.train.surroundings import Surroundings
from hftune.train.teacher import Teacher
from hftune.train.tracking import Tracking
from hftune.train.world import make_accelerator

logger = logging.getLogger(__name__)


def train(
    plan: RunPlan,
    model: Model,
    splits: Splits,
    run: Path,
    *,
    teacher: Teacher | None = None,
    gives_up: Callable[[], bool] | None = None,
    best: BestOutputs | None = None,
) -> Progress:
    """Run the plan's remaining steps, from the newest whole checkpoint in `run` if there is one.

    Called by every rank. Changes `model` and writes into `run`. The returned progress has fewer
    steps than the plan when a stop signal or early stopping ended it, or `gives_up` did
    (see Surroundings). `best` is filled where it is given. `teacher` is the one that the recipe
    names, if it does.
    """
    accelerator = make_accelerator(plan.precision)
    judge = make_judge(accelerator, plan.recipe, model, labels=splits.labels, run=run)
    guides = open_guides(plan, model, judge, teacher)
    progress, memory = restore(run, model.module)
    check_mean(plan, progress, memory)
    mirror = open_mirror(plan, run) if accelerator.is_main_process else None
    with (
        lost_workers(),
        fast_arithmetic(accelerator.device),
        Control(accelerator, plan) as control,
        Tracking(run, plan, accelerator, start=progress, bad=judge.bad) as track,
    ):
        around = Surroundings(
            run=run, train=splits.train, val=splits.val, judge=judge, guides=guides,
            control=control, track=track, mirror=mirror, gives_up=gives_up,
            best=best or BestOutputs(),
        )  # fmt: skip
        if accelerator.device.type == "cuda":
            logger.info(arithmetic_text(describe_arithmetic(accelerator.device)))
        while (number := next_phase(plan, progress)) is not None:
            progress.phase = number
            phase = plan.phases[number]
            session = open_session(
                accelerator, model, phase, plan=plan, split=splits.train, memory=memory,
                guides=guides,
            )  # fmt: skip
            track.begin(session)
            logger.info("steps %d to %d train: %s", progress.step, phase.stop, phase.label)
            stopped = run_phase(session, progress, around)
            memory = session.close()
            if stopped:
                send_last(around)
                return progress
        if owes_average(plan, progress):
            finish_average(plan, model, progress=progress, memory=memory, around=around)
    if mirror is not None:
        mirror.finish(seconds=END_SECONDS)
    return progress


def run_phase(session: Session, progress: Progress, around: Surroundings) -> bool:
    """Take the phase's remaining steps; True when a signal ends the run here.

    Called by every rank. Advances `progress`, evaluates, and commits when asked and at the end.
    """
    plan, phase = session.plan, session.phase
    clock = time.monotonic()
    try:
        keep_frozen(session, around, step=progress.step)
    except KeepingStopped:
        save(session, progress, around)
        return True
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
            try:
                stats = train_step(
                    session, ready.item, step=progress.step, rate_factor=progress.plateau_factor
                )
            except BadStep as error:
                raise explain_bad_step(session, progress.step) from error
            progress.step += 1
            if takes_weights(plan, progress.step):
                session.mean.take(session.module)
            progress.samples += stats.examples
            progress.skipped_steps += stats.skipped
            around.track.step(
                progress, stats, waited=around.control.waited,
                report=due(progress.step, plan.log_every, plan),
            )  # fmt: skip
            judged = True
            if due(progress.step, plan.eval_every, plan):
                before = time.monotonic()
                if progress.step == plan.total_steps:
                    give_memory_back()  # no step needs any more what they kept
                judged = judge_now(session, progress, around)
                clock += time.monotonic() - before  # no training time
            if not judged or progress.ended_early or progress.step == phase.stop:
                progress.seconds += time.monotonic() - clock
                save(session, progress, around)
                return not judged
