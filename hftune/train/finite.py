"""Why a step gave no finite number, in the same words on every rank."""

from typing import TYPE_CHECKING

from accelerate.utils import gather_object

from hftune.errors import NotFiniteError
from hftune.train.plan import loss_of
from hftune.train.replay import Cause, Finding, find_fault, listed, spoilt
from hftune.train.world import from_first

if TYPE_CHECKING:
    from hftune.train.session import Session

# What comes first in a step comes first here: later causes follow from earlier ones.
_ORDER: tuple[Cause, ...] = (
    "weight", "pixels", "forward", "teacher", "loss", "loss_gradient", "backward",
)  # fmt: skip

_KEPT = "what was saved before is kept; other settings need another folder (--output)"
_NOT_TAKEN = f"the step was not taken and {_KEPT}"


def explain_bad_step(session: "Session", step: int) -> NotFiniteError:
    """Replay a step that raised BadStep, and say what in it is not finite. Called by every rank.

    Each rank replays its own micro-batches, and all get the same error (collective). Weights,
    buffers, gradients, the optimizer, the loss scaler and all random state stay as they are.
    """
    own = find_fault(session, step)
    gathered = [own] if session.accelerator.num_processes == 1 else gather_object([own])
    found = [finding for finding in gathered if finding is not None]
    plan = session.plan
    problem = f"the loss or its gradient is not finite in step {step + 1} of {plan.total_steps}"
    if not found:
        return NotFiniteError(
            problem,
            found="the same images gave finite values a second time: the values are at the edge "
            f"of what {plan.precision} holds, or only their sum over the batch is beyond it",
            where=plan.precision,
            remedy=f"{_range_remedy(session)}\n{_NOT_TAKEN}",
        )
    first = min(found, key=lambda finding: (_ORDER.index(finding.cause), finding.part))
    return NotFiniteError(
        problem,
        found="\n".join(first.facts),
        where=_where(session, first),
        remedy=f"{_remedy(session, first.cause, step=step)}\n{_NOT_TAKEN}",
    )


def check_weights(session: "Session", step: int) -> None:
    """Raise NotFiniteError where `step` steps have left a weight or a statistic not finite.

    Called by every rank before a checkpoint is committed, so that the last one is always good
    (collective and host-device sync). A finite gradient times a rate may leave a weight infinite,
    and values whose squares overflow spoil a running variance without a trace in the loss. Rank 0,
    whose buffers are saved, decides.
    """
    names = from_first(spoilt(session.module))
    if names:
        raise NotFiniteError(
            f"weights or running statistics are not finite after step {step}",
            found=listed(names),
            where=session.plan.precision,
            remedy=f"{_calmer()}\n{_KEPT}",
        )


def _where(session: "Session", finding: Finding) -> str:
    plan = session.plan
    if finding.cause == "weight":
        return plan.precision
    number = plan.accumulation * plan.world_size
    return f"micro-batch {finding.part + 1} of {number}, {plan.precision}"


def _remedy(session: "Session", cause: Cause, *, step: int) -> str:
    if cause == "weight" and step == 0:
        return "start from another weight file: this one holds numbers that are not finite"
    if cause == "weight":
        return _calmer()
    if cause == "pixels":
        return "correct the mean and std of the model, or leave these images out of the data"
    if cause == "teacher":
        return "look at the teacher with hftune eval, or set train.precision=bf16 or fp32"
    if cause in ("loss", "loss_gradient") and loss_of(session.plan.recipe).is_code:
        return "keep its logarithms, roots and divisions away from zero, by a clamp or a small term"
    return _range_remedy(session)


def _range_remedy(session: "Session") -> str:
    if session.plan.precision == "fp16":
        return (
            "set train.precision=bf16, which has the range of fp32, or fp32: fp16 holds nothing "
            f"above 65504; or {_calmer()}"
        )
    return _calmer()


def _calmer() -> str:
    return "lower optim.lr, lengthen the warm-up (optim.schedule) or set optim.clip_norm"
