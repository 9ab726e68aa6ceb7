"""Against torch's own divergence, and against the algebra of the paper."""

import pytest
import torch
from torch.nn import functional

from hftune.core import ProblemName
from hftune.losses.distillation import distillation

PROBLEMS: tuple[ProblemName, ...] = ("single_label", "multi_label", "regression")


def logits(seed: int, *, num: int = 6) -> torch.Tensor:
    return 3 * torch.randn(num, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_one_class_agrees_with_the_divergence_of_probabilities(temperature):
    student, teacher = logits(0), logits(1)
    p = (teacher.double() / temperature).softmax(1)
    q = (student.double() / temperature).softmax(1)
    by_hand = temperature**2 * (p * (p / q).log()).sum(1)
    result = distillation(student, teacher, temperature=temperature, problem="single_label")
    assert result.tolist() == pytest.approx(by_hand.tolist(), rel=1e-4)
    # torch's own, over probabilities rather than their logarithms
    of_torch = functional.kl_div(q.log(), p, reduction="batchmean") * temperature**2
    assert result.mean().item() == pytest.approx(of_torch.item(), rel=1e-4)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_several_classes_are_a_divergence_of_yes_and_no_each(temperature):
    student, teacher = logits(0), logits(1)
    p = (teacher.double() / temperature).sigmoid()
    q = (student.double() / temperature).sigmoid()
    by_hand = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    result = distillation(student, teacher, temperature=temperature, problem="multi_label")
    assert result.tolist() == pytest.approx(
        (temperature**2 * by_hand.mean(1)).tolist(), rel=1e-3, abs=1e-5
    )


def test_several_classes_have_the_gradient_of_the_cross_entropy():
    student, teacher = logits(0).requires_grad_(), logits(1)
    distillation(student, teacher, temperature=2.0, problem="multi_label").sum().backward()
    ours = student.grad.clone()
    student.grad = None
    bce = functional.binary_cross_entropy_with_logits(
        student / 2, (teacher / 2).sigmoid(), reduction="none"
    )
    (4 * bce.mean(1)).sum().backward()
    assert torch.allclose(ours, student.grad, atol=1e-6)


def test_numbers_are_compared_as_they_are():
    student, teacher = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [2.5]])
    result = distillation(student, teacher, temperature=7.0, problem="regression")
    assert result.tolist() == [4.0, 0.25]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_nothing_is_left_to_learn_from_an_equal(problem):
    student = logits(0)
    result = distillation(student, student, temperature=3.0, problem=problem)
    assert result.tolist() == pytest.approx([0.0] * 6, abs=1e-6)


@pytest.mark.parametrize("problem", ["single_label", "multi_label"])
def test_gradients_keep_their_size_at_high_temperature(problem):
    # Hinton et al. 2015, section 2.1: far up, the gradient tends to that of matching the logits,
    # (z - v) / K for logits of zero mean, whatever T is.
    student = logits(0).double()
    student = (student - student.mean(1, keepdim=True)).requires_grad_()
    teacher = logits(1).double()
    teacher = teacher - teacher.mean(1, keepdim=True)
    distillation(student, teacher, temperature=1000.0, problem=problem).sum().backward()
    limit = (student - teacher).detach() / 5
    if problem == "multi_label":
        limit = limit / 4  # a sigmoid's slope at zero is 1/4; the mean over K gives the fifth
    assert torch.allclose(student.grad, limit, atol=2e-2)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_half_precision_and_large_logits_give_finite_gradients(problem, scale):
    student = (logits(0) * scale).half().clamp(-6e4, 6e4).requires_grad_()
    teacher = (logits(1) * scale).half().clamp(-6e4, 6e4).requires_grad_()
    result = distillation(student, teacher, temperature=2.0, problem=problem)
    assert result.dtype == torch.float32
    (result.sum() / 1e6).backward()
    assert bool(student.grad.isfinite().all())
    assert teacher.grad is None


@pytest.mark.parametrize("problem", PROBLEMS)
def test_empty_batch_gives_an_empty_distance(problem):
    empty = logits(0, num=0)
    assert distillation(empty, empty, temperature=2.0, problem=problem).shape == (0,)
