"""The end of a run that averages weights: the mean is judged, and kept where it is the best."""

import copy
import logging
from typing import TYPE_CHECKING

from torch import nn

from hftune.core import Model, Progress, RunPlan
from hftune.files import write_json
from hftune.metrics import is_better
from hftune.train.average import FEWEST_POINTS, RunningMean, open_mean, swa_steps
from hftune.train.average_record import AVERAGE_FILE, AverageRecord, finite_or_none
from hftune.train.batch_norm import live_batch_norm, recompute_batch_norm, statistics_batches
from hftune.train.best import keep_best, metric_value
from hftune.train.checkpoint import CHECKPOINTS, Memory, commit_checkpoint
from hftune.train.evaluate import Outputs, compute_logits, judge_outputs
from hftune.train.plan import best_of

if TYPE_CHECKING:
    from hftune.train.surroundings import Surroundings

logger = logging.getLogger(__name__)


def finish_average(
    plan: RunPlan,
    model: Model,
    *,
    progress: Progress,
    memory: Memory,
    around: "Surroundings",
) -> bool:
    """Judge the mean on validation and make it the best weights where it is better.

    Called by every rank once the last session is closed, where `owes_average` says so; `memory`
    is what that session or the checkpoint gave. `model` stays as it is. The checkpoint is
    committed anew at the end, so that a kill before does all of this again and a kill after
    nothing. False when a signal cut it short; the average then stays owed.
    """
    mean = open_mean(memory)
    if mean.count < FEWEST_POINTS:
        logger.warning(
            "no average: training ended after step %d, before the second point at step %d",
            progress.step,
            swa_steps(plan)[1],
        )
    else:
        module = averaged_module(plan, model, mean, progress=progress, around=around)
        if module is None:
            return False
        outputs = compute_logits(around.judge, module, around.val, control=around.control)
        if outputs is None:
            return False
        _note(plan, module, outputs, progress=progress, around=around)
    progress.averaged_at = progress.step
    if around.judge.accelerator.is_main_process:
        commit_checkpoint(
            around.run / CHECKPOINTS,
            progress,
            module=model.module,
            memory=memory,
            plan_digest=plan.digest,
        )
    around.judge.accelerator.wait_for_everyone()  # collective
    return True


def averaged_module(
    plan: RunPlan,
    model: Model,
    mean: RunningMean,
    *,
    progress: Progress,
    around: "Surroundings",
) -> nn.Module | None:
    """Give a copy of the model with the mean's parameters and batch-norm statistics for them.

    Statistics that no step since the first point has moved are left as they are: frozen layers
    keep theirs. None when a signal cut the pass over the training images short (collective).
    """
    judge = around.judge
    module = copy.deepcopy(model.module)
    module.to(judge.accelerator.device).to(memory_format=judge.layout)
    mean.put_into(module)
    first = swa_steps(plan)[0]
    ran = [phase for phase in plan.phases if phase.stop > first and phase.start < progress.step]
    live = live_batch_norm(module, model.layers, ran, policy=plan.recipe.freeze.batch_norm)
    if live and not recompute_batch_norm(
        module,
        statistics_batches(around.train, judge, plan.recipe),
        layers=live,
        accelerator=judge.accelerator,
        control=around.control,
    ):
        return None
    return module


def _note(
    plan: RunPlan,
    module: nn.Module,
    outputs: Outputs,
    *,
    progress: Progress,
    around: "Surroundings",
) -> None:
    """Judge what it said, and replace the best weights where it is better (rank 0 writes)."""
    result = judge_outputs(around.judge, outputs, around.val, step=progress.step)
    name = best_of(plan.recipe)
    value, best = metric_value(result, name), progress.best_value
    points = tuple(step for step in swa_steps(plan) if step <= progress.step)
    chosen = best is None or is_better(value, best, metric=name)
    logger.info(
        "the mean of %d points has %s %.4f on validation, the best single point %s: it is %s",
        len(points),
        name,
        value,
        "none" if best is None else f"{best:.4f}",
        "kept" if chosen else "not kept",
    )
    around.track.average(result, progress, points=len(points))
    record = AverageRecord(
        points=points,
        metric=name,
        value=finite_or_none(value),
        best_single=finite_or_none(best),
        chosen=chosen,
    )
    if chosen:
        keep_best(around, module, outputs, result)
        progress.best_value, progress.best_step = value, result.step
    if around.judge.accelerator.is_main_process:
        write_json(around.run / AVERAGE_FILE, record.to_json())
