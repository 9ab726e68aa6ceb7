"""What a student still has to learn from a teacher's answers (Hinton et al. 2015)."""

from torch import Tensor
from torch.nn import functional

from hftune.core import ProblemName


def distillation(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float, problem: ProblemName
) -> Tensor:
    """Give the distance of the student's answers from the teacher's per example, fp32 [B].

    Both logits are [B, K]; no gradient goes to the teacher. It is zero where both give the same
    answers. With one class it is T^2 KL(teacher || student) of the softmax at temperature T, where
    T^2 keeps gradients at the size they have at T = 1 (section 2); with several, the same of each
    class's yes or no, averaged over the classes: its gradient is that of the BCE against the
    teacher's probabilities. A number has no temperature: there it is the squared difference.
    """
    student, teacher = student_logits.float(), teacher_logits.detach().float()
    if problem == "regression":
        return functional.mse_loss(student, teacher, reduction="none").mean(dim=1)
    student, teacher = student / temperature, teacher / temperature
    distance = _of_one_class if problem == "single_label" else _of_each_class
    return distance(student, teacher) * temperature**2


def _of_one_class(student: Tensor, teacher: Tensor) -> Tensor:
    terms = functional.kl_div(
        student.log_softmax(dim=1), teacher.log_softmax(dim=1), reduction="none", log_target=True
    )
    return terms.sum(dim=1)


def _of_each_class(student: Tensor, teacher: Tensor) -> Tensor:
    """Give the BCE less what it is at best: the entropy of the teacher's answer."""
    probabilities = teacher.sigmoid()
    bce = functional.binary_cross_entropy_with_logits
    losses = bce(student, probabilities, reduction="none")
    return (losses - bce(teacher, probabilities, reduction="none")).mean(dim=1)
