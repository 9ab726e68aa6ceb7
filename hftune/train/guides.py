"""What steers every step of a run besides its labels: the pretrained point and a teacher."""

from dataclasses import dataclass

from hftune.core import Model, RunPlan
from hftune.optim.l2_sp import StartingPoint, starting_point
from hftune.train.evaluate import Judge
from hftune.train.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class Guides:
    """Settled once per run; the teacher is on the device, the starting point on the CPU."""

    start: StartingPoint | None = None
    teacher: Teacher | None = None


def open_guides(plan: RunPlan, model: Model, judge: Judge, teacher: Teacher | None) -> Guides:
    """Give a run's guides. Called by every rank before a checkpoint is restored into `model`.

    Side effect: moves `teacher`, which the recipe's `distill` names, to the device.
    """
    if (teacher is None) is not (plan.recipe.distill.teacher is None):
        raise ValueError("the recipe names a teacher and there is none, or the other way round")
    if teacher is not None:
        teacher = teacher.to(judge.accelerator.device).to(memory_format=judge.layout)
    return Guides(start=starting_point(model, plan.recipe.optim), teacher=teacher)
