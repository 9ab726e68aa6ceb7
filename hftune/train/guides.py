"""What steers every step of a run besides its labels: the pretrained point and a teacher."""

from dataclasses import dataclass

from hftune.core import Model, RunPlan
from hftune.optim.l2_sp import StartingPoint, starting_point
from hftune.train.evaluate import Judge
from hftune.train.teacher import Teacher, load_teacher
from hftune.train.world import first_on_machine


@dataclass(frozen=True, kw_only=True)
class Guides:
    """Settled once per run; the teacher is on the device, the starting point on the CPU."""

    start: StartingPoint | None = None
    teacher: Teacher | None = None


def open_guides(plan: RunPlan, model: Model, judge: Judge) -> Guides:
    """Give a run's guides. Called by every rank before a checkpoint is restored into `model`.

    Raises what loading a teacher raises, and PlanError where it does not fit.
    """
    return Guides(
        start=starting_point(model, plan.recipe.optim), teacher=_open_teacher(plan, judge)
    )


def _open_teacher(plan: RunPlan, judge: Judge) -> Teacher | None:
    name = plan.recipe.distill.teacher
    if name is None:
        return None
    with first_on_machine():  # one process downloads, the others find the cache
        classifier = load_teacher(name)
    teacher = Teacher(classifier, judge.input_spec, judge.labels)
    return teacher.to(judge.accelerator.device).to(memory_format=judge.layout)
