"""Every problem in the table against the contract, and each one by hand."""

import math

import pytest
import torch

from hftune.core import LabelSpace
from hftune.errors import DataError
from hftune.losses import check_loss, make_loss
from hftune.metrics import check_metrics
from hftune.problems import PROBLEMS

LABELS = LabelSpace(names=("ant", "bee", "cow"))
NUMBER = LabelSpace(names=("age",), numeric=True)
OF_CLASSES = [name for name in PROBLEMS if name != "regression"]


@pytest.mark.parametrize("name", PROBLEMS)
def test_defaults_fit_the_problem(name):
    problem = PROBLEMS[name]
    labels = NUMBER if name == "regression" else LABELS
    assert problem.name == name
    loss = make_loss(problem.default_loss, problem=name)
    check_loss(loss, problem=name, num_classes=labels.size)
    check_metrics(problem.default_metrics, labels, problem=name)
    assert problem.best_metric in problem.default_metrics
    assert "image-classification" in problem.hub_tags


@pytest.mark.parametrize("name", OF_CLASSES)
def test_encoded_targets_are_decoded_from_confident_logits(name):
    problem = PROBLEMS[name]
    chosen = [("bee",), ("ant",), ("cow",), ("bee",)]
    targets = problem.encode(chosen, LABELS)
    answers = targets if targets.ndim == 2 else torch.nn.functional.one_hot(targets, 3)
    decoded = problem.decode((answers * 20 - 10).half(), LABELS)
    assert list(decoded.names) == chosen
    assert decoded.scores.shape == (4, 3)
    assert decoded.scores.dtype == torch.float32
    make_loss(problem.default_loss, problem=name)(decoded.scores, targets)


@pytest.mark.parametrize("name", OF_CLASSES)
def test_no_examples_at_all(name):
    problem = PROBLEMS[name]
    assert len(problem.encode([], LABELS)) == 0
    assert problem.decode(torch.zeros(0, 3), LABELS).names == ()


@pytest.mark.parametrize("name", OF_CLASSES)
def test_name_that_is_no_class_is_refused(name):
    with pytest.raises(DataError, match="'bea' is none") as caught:
        PROBLEMS[name].encode([("ant",), ("bea",)], LABELS)
    assert caught.value.remedy == "did you mean 'bee'?"


def test_single_label_by_hand():
    problem = PROBLEMS["single_label"]
    assert problem.encode([("cow",), ("ant",)], LABELS).tolist() == [2, 0]
    decoded = problem.decode(torch.tensor([[0.0, math.log(2), 0.0]]), LABELS)
    assert decoded.scores[0].tolist() == pytest.approx([0.25, 0.5, 0.25])
    assert decoded.names == (("bee",),)
    assert problem.transformers_type == "single_label_classification"


@pytest.mark.parametrize("names", [(), ("ant", "bee")])
def test_single_label_takes_exactly_one_class(names):
    with pytest.raises(DataError, match="1 of 2 examples") as caught:
        PROBLEMS["single_label"].encode([("cow",), names], LABELS)
    assert "multi_label" in str(caught.value.remedy)


def test_multi_label_by_hand():
    problem = PROBLEMS["multi_label"]
    targets = problem.encode([("cow", "ant"), ()], LABELS)
    assert targets.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert targets.dtype == torch.float32
    decoded = problem.decode(torch.tensor([[math.log(3), 0.0, -1.0], [2.0, 1.0, 0.1]]), LABELS)
    assert decoded.scores[0, 0].item() == pytest.approx(0.75)
    assert decoded.names == (("ant",), ("ant", "bee", "cow"))
    assert problem.transformers_type == "multi_label_classification"


def test_regression_by_hand():
    problem = PROBLEMS["regression"]
    targets = problem.encode([("0.25",), ("-3",)], NUMBER)
    assert targets.tolist() == [[0.25], [-3.0]]
    assert targets.dtype == torch.float32
    decoded = problem.decode(torch.tensor([[0.25], [1e4]]).half(), NUMBER)
    assert decoded.scores[0].tolist() == [0.25]
    assert decoded.names[0] == ("0.25",)
    assert problem.encode(problem.decode(targets, NUMBER).names, NUMBER).equal(targets)
    assert problem.transformers_type == "regression"


def test_no_numbers_at_all():
    problem = PROBLEMS["regression"]
    assert problem.encode([], NUMBER).shape == (0, 1)
    assert problem.decode(torch.zeros(0, 1), NUMBER).names == ()


@pytest.mark.parametrize("texts", [(), ("1", "2"), ("one",)])
def test_regression_takes_exactly_one_number(texts):
    with pytest.raises(DataError):
        PROBLEMS["regression"].encode([("1",), texts], NUMBER)


def test_labels_say_which_problem_they_belong_to():
    assert {
        name: labels.problem
        for name, labels in {
            "single_label": LABELS,
            "multi_label": LabelSpace(names=("a",), multi=True),
            "regression": NUMBER,
        }.items()
    } == {name: name for name in PROBLEMS}
