"""What happens between two steps: evaluations and checkpoints."""

from hftune.core import Progress
from hftune.train.best import keep_best, note_plateau, note_result
from hftune.train.checkpoint import CHECKPOINTS, commit_checkpoint, prune_checkpoints
from hftune.train.evaluate import compute_logits, judge_outputs
from hftune.train.finite import check_weights
from hftune.train.mirror import STOP_SECONDS
from hftune.train.session import Session
from hftune.train.surroundings import Surroundings


def judge_now(session: Session, progress: Progress, around: Surroundings) -> bool:
    """Evaluate, note the result and keep the weights if they are the best (collective).

    False when a signal cut it short; the evaluation then stays owed.
    """
    progress.owes_evaluation = True
    session.share_buffers()
    module = session.judged_module()
    outputs = compute_logits(
        around.judge, module, around.val, control=around.control, kept=session.kept_val,
        told=lambda share: around.track.evaluating(progress, share),
    )  # fmt: skip
    session.train_mode()
    if outputs is None:
        return False
    result = judge_outputs(around.judge, outputs, around.val, step=progress.step)
    progress.owes_evaluation = False
    is_best = note_result(result, progress, session.plan.recipe)
    around.track.result(result, progress)
    note_plateau(result, progress, session.plan.recipe)
    if is_best:
        of_images = outputs if session.kept_val is None else None
        keep_best(around, module, of_images, result)
    if around.gives_up is not None and progress.step < session.plan.total_steps:
        progress.ended_early = around.gives_up() or progress.ended_early
    return True


def save(session: Session, progress: Progress, around: Surroundings) -> None:
    """Commit a checkpoint and drop the ones that are too many; rank 0 writes, all wait.

    Raises NotFiniteError on every rank where the weights are no longer worth keeping.
    """
    check_weights(session, progress.step)
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
        if around.mirror is not None:
            around.mirror.offer(progress.step)
    around.control.note_save(progress.step)
    around.track.saved(progress)
    session.accelerator.wait_for_everyone()  # collective


def send_last(around: Surroundings) -> None:
    """Let a stop wait a moment for the newest checkpoint to reach the Hub; rank 0 sends, all wait.

    Whoever left before would have its launcher end the others.
    """
    if around.mirror is not None:
        around.mirror.finish(seconds=STOP_SECONDS)
    around.judge.accelerator.wait_for_everyone()  # collective
