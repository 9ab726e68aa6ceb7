"""Known numbers are worked out by hand beside each test."""

import json
import logging
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hftune import metrics
from hftune.core import LabelSpace
from hftune.errors import ComponentError, PlanError
from hftune.metrics import METRICS, check_metrics, compute_metrics, higher_is_better, metrics_for

CATS_AND_DOGS = LabelSpace(names=("cat", "dog"))
THREE = LabelSpace(names=("a", "b", "c"))
TAGS = LabelSpace(names=("sea", "sun", "sky"), multi=True)


@pytest.fixture(autouse=True)
def _forget_warnings():
    metrics._warn_once.cache_clear()


def one_hot_logits(predicted, num_classes=3):
    """Logits whose largest entry is at the predicted class."""
    return torch.nn.functional.one_hot(torch.tensor(predicted), num_classes).float() * 4


def single(names, logits, targets, labels=THREE):
    return compute_metrics(names, logits, torch.tensor(targets), labels, problem="single_label")


def test_single_label_counts_by_hand():
    # true a a a b b c, predicted a a b b c c
    result = single(
        ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1"),
        one_hot_logits([0, 0, 1, 1, 2, 2]),
        [0, 0, 0, 1, 1, 2],
    )
    assert result.confusion == ((2, 1, 0), (0, 1, 1), (0, 0, 1))
    recall = (2 / 3, 1 / 2, 1.0)
    precision = (1.0, 1 / 2, 1 / 2)
    f1 = (4 / 5, 1 / 2, 2 / 3)
    assert result.values == pytest.approx(
        {
            "accuracy": 4 / 6,
            "balanced_accuracy": sum(recall) / 3,
            "macro_precision": sum(precision) / 3,
            "macro_recall": sum(recall) / 3,
            "macro_f1": sum(f1) / 3,
        },
        abs=1e-6,
    )
    assert result.per_class["b"] == {"count": 2.0, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert [row["count"] for row in result.per_class.values()] == [3, 2, 1]


def test_auroc_by_hand():
    # scores of "dog": 0.1 (cat), 0.4 (cat), 0.35 (dog), 0.8 (dog): 3 of 4 pairs are in order
    scores = torch.tensor([0.1, 0.4, 0.35, 0.8]).logit()
    logits = torch.stack([torch.zeros(4), scores], dim=1)
    result = single(("auroc",), logits, [0, 0, 1, 1], CATS_AND_DOGS)
    assert result.values["auroc"] == pytest.approx(0.75)
    assert result.per_class["dog"]["auroc"] == pytest.approx(0.75)


def test_average_precision_by_hand():
    # "sea" ranked yes no yes: (1/1 + 2/3) / 2; "sun" ranked no yes no: 1/2; "sky" first: 1
    logits = torch.tensor([[3.0, 1.0, 5.0], [2.0, 2.0, -5.0], [1.0, 0.0, -6.0]])
    targets = torch.tensor([[1, 1, 1], [0, 0, 0], [1, 0, 0]], dtype=torch.float32)
    result = compute_metrics(
        ("mean_average_precision",), logits, targets, TAGS, problem="multi_label"
    )
    assert result.values["mean_average_precision"] == pytest.approx((5 / 6 + 1 / 2 + 1) / 3)


def test_multi_label_counts_by_hand():
    logits = torch.tensor([[9.0, -9.0, 9.0], [9.0, 9.0, -9.0]])
    targets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    result = compute_metrics(
        ("exact_match", "micro_f1", "macro_f1", "macro_precision", "macro_recall"),
        logits,
        targets,
        TAGS,
        problem="multi_label",
    )
    # tp 3, fp 1, fn 1; by class: sea p 1/2 r 1 f 2/3, sun 1 1 1, sky p 1 r 1/2 f 2/3
    expected = {
        "exact_match": 1 / 2,
        "micro_f1": 6 / 8,
        "macro_f1": (2 / 3 + 1 + 2 / 3) / 3,
        "macro_precision": 2.5 / 3,
        "macro_recall": 2.5 / 3,
    }
    assert result.values == pytest.approx(expected, abs=1e-6)
    assert result.confusion == ()
    assert result.per_class["sea"] == {
        "count": 1.0, "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3)
    }  # fmt: skip


def test_logits_between_zero_and_one_are_not_taken_for_probabilities():
    logits = torch.tensor([[0.2, 0.3], [0.4, 0.1]])  # every sigmoid is above one half
    targets = torch.ones(2, 2)
    labels = LabelSpace(names=("x", "y"), multi=True)
    result = compute_metrics(("exact_match",), logits, targets, labels, problem="multi_label")
    assert result.values["exact_match"] == 1.0


def test_confident_logits_do_not_round_to_ties():
    # sigmoid(20) and sigmoid(30) are both 1 in fp32
    logits = torch.tensor([[30.0, 20.0], [20.0, 30.0]])
    labels = LabelSpace(names=("x", "y"), multi=True)
    targets = torch.eye(2)
    result = compute_metrics(("auroc",), logits, targets, labels, problem="multi_label")
    assert result.values["auroc"] == 1.0


def test_top5_accuracy_by_hand():
    labels = LabelSpace(names=tuple("abcdef"))
    logits = torch.arange(6.0).flip(0).repeat(2, 1)  # class 5 is last, class 4 is fifth
    result = single(("top5_accuracy",), logits, [4, 5], labels)
    assert result.values["top5_accuracy"] == 0.5


def test_class_without_examples_is_out_of_balanced_accuracy():
    # nothing is "c", yet one example is called so: recalls 1 and 1/2
    result = single(("balanced_accuracy",), one_hot_logits([0, 1, 2]), [0, 1, 1])
    assert result.values["balanced_accuracy"] == 0.75
    assert result.per_class["c"] == {"count": 0.0}


def test_undefined_metric_is_left_out_with_one_warning(caplog):
    logits = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            result = single(("accuracy", "auroc"), logits, [1, 1, 1, 1], CATS_AND_DOGS)
    assert list(result.values) == ["accuracy"]
    assert "auroc" not in result.per_class["dog"]
    assert sum("auroc is left out" in record.message for record in caplog.records) == 1


def test_partly_undefined_metric_names_the_class(caplog):
    logits = one_hot_logits([0, 1, 0])
    result = single(("auroc",), logits, [0, 1, 1])
    assert result.values["auroc"] == pytest.approx(0.75)
    assert "auroc leaves out 'c'" in caplog.text


def test_outputs_that_are_not_finite_are_refused():
    logits = torch.tensor([[0.0, 1.0], [math.nan, 0.0], [math.inf, 0.0]])
    with pytest.raises(PlanError, match="diverged") as caught:
        single(("accuracy",), logits, [0, 1, 1], CATS_AND_DOGS)
    assert caught.value.found == "2 of 3 examples"


@pytest.mark.parametrize(
    ("problem", "name"),
    [
        (problem, name)
        for name, makers in METRICS.items()
        for problem in makers
        if problem != "regression"
    ],
)
def test_every_metric_is_best_for_perfect_outputs(problem, name):
    labels = LabelSpace(names=tuple("abcdef"), multi=problem == "multi_label")
    targets = torch.arange(6)
    logits = one_hot_logits([0, 1, 2, 3, 4, 5], 6) * 10 - 20
    if labels.multi:
        targets = torch.eye(6)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        result = compute_metrics((name,), logits.to(dtype), targets, labels, problem=problem)
        assert result.values == pytest.approx({name: 1.0})
        assert isinstance(higher_is_better(name), bool)


@settings(max_examples=30, deadline=None)
@given(
    data=st.data(),
    problem=st.sampled_from(["single_label", "multi_label"]),
    num=st.integers(1, 12),
    size=st.integers(1, 7),
)
def test_values_are_finite_within_bounds_and_plain_json(data, problem, num, size):
    labels = LabelSpace(names=tuple(f"class {k}" for k in range(size + 1)))
    seed = data.draw(st.integers(0, 1000))
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num, labels.size, generator=generator) * 30
    shape = (num,) if problem == "single_label" else (num, labels.size)
    high = labels.size if problem == "single_label" else 2
    targets = torch.randint(high, shape, generator=generator)
    names = metrics_for(problem, num_classes=labels.size)
    result = compute_metrics(names, logits, targets, labels, problem=problem)
    json.dumps([result.values, result.per_class, result.confusion], allow_nan=False)
    numbers = [*result.values.values()]
    numbers += [row[key] for row in result.per_class.values() for key in row if key != "count"]
    assert all(-1e-9 <= number <= 1 + 1e-9 for number in numbers)
    total = sum(row["count"] for row in result.per_class.values())
    assert total == (num if problem == "single_label" else int(targets.sum()))
    if problem == "single_label":
        assert sum(map(sum, result.confusion)) == num


def test_unknown_metric_names_the_fitting_ones():
    with pytest.raises(ComponentError) as caught:
        check_metrics(("acuracy",), CATS_AND_DOGS, problem="single_label")
    assert caught.value.remedy == "did you mean 'accuracy'?"
    assert "top5_accuracy" not in str(caught.value.allowed)
    assert "exact_match" not in str(caught.value.allowed)


def test_metric_of_another_problem_is_refused():
    with pytest.raises(ComponentError, match="no metric 'accuracy' for 'multi_label'"):
        check_metrics(("accuracy",), TAGS, problem="multi_label")


def test_loss_is_better_when_lower():
    assert higher_is_better("loss") is False


def test_direction_of_an_unknown_metric_is_an_error():
    with pytest.raises(ComponentError, match="no metric 'speed'"):
        higher_is_better("speed")
