"""Metrics of numbers. Known values are worked out by hand beside each test."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hftune import metrics
from hftune.core import LabelSpace
from hftune.errors import ComponentError, PlanError
from hftune.metrics import METRICS, check_metrics, compute_metrics, higher_is_better, metrics_for

AGE = LabelSpace(names=("age",), numeric=True)
ALL = ("mae", "rmse", "r2", "pearson", "spearman")


@pytest.fixture(autouse=True)
def _forget_warnings():
    metrics._warn_once.cache_clear()


def judged(predicted, true, names=ALL):
    logits, targets = (torch.tensor(numbers)[:, None] for numbers in (predicted, true))
    return compute_metrics(names, logits, targets, AGE, problem="regression")


def test_values_by_hand():
    # errors 1, 0, -2, 1: absolute 4 in all, squared 6
    result = judged([2.0, 2.0, 1.0, 5.0], [1.0, 2.0, 3.0, 4.0])
    # targets around 2.5: squares 2.25 + 0.25 + 0.25 + 2.25 = 5
    # predictions around 2.5: -0.5 -0.5 -1.5 2.5, squares 9; products 0.75 + 0.25 - 0.75 + 3.75 = 4
    assert result.values == pytest.approx(
        {
            "mae": 4 / 4,
            "rmse": math.sqrt(6 / 4),
            "r2": 1 - 6 / 5,
            "pearson": 4 / math.sqrt(5 * 9),
            # ranks of the predictions 2.5 2.5 1 4: squares 0 + 0 + 2.25 + 2.25 = 4.5; products
            # with -1.5 -0.5 0.5 1.5: -0.75 + 2.25 = 1.5
            "spearman": 1.5 / math.sqrt(4.5 * 5),
        },
        abs=1e-5,
    )
    assert result.per_class == {}
    assert result.confusion == ()


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e5])
def test_agreement_does_not_depend_on_the_unit(unit):
    predicted, true = [2.0, 2.0, 1.0, 5.0], [1.0, 2.0, 3.0, 4.0]
    plain = judged(predicted, true).values
    scaled = judged([unit * v for v in predicted], [unit * v for v in true]).values
    for name in ("r2", "pearson", "spearman"):
        assert scaled[name] == pytest.approx(plain[name], abs=1e-5)
    for name in ("mae", "rmse"):
        assert scaled[name] == pytest.approx(unit * plain[name])


def test_a_large_mean_does_not_drown_small_differences():
    # errors of a quarter at 2000: in fp32 the squares of the targets alone would lose them
    result = judged([2000.25, 2001.25, 2002.25], [2000.0, 2001.0, 2002.0])
    assert result.values["mae"] == 0.25
    assert result.values["r2"] == pytest.approx(1 - 3 * 0.25**2 / 2)
    assert result.values["pearson"] == pytest.approx(1.0)


@pytest.mark.parametrize("unit", [1e-40, 3.5e-22, 1e30])
def test_a_correlation_knows_no_unit(unit):
    values = judged([0.0, unit, 3 * unit], [1.0, 2.0, 4.0]).values
    assert values["pearson"] == pytest.approx(1.0)
    assert values["spearman"] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_perfect_numbers_are_best(dtype):
    true = torch.tensor([[0.0], [0.5], [1.0], [2.0]])
    result = compute_metrics(ALL, true.to(dtype), true, AGE, problem="regression")
    best = {"mae": 0, "rmse": 0, "r2": 1, "pearson": 1, "spearman": 1}
    assert result.values == pytest.approx(best, abs=1e-5)


def test_directions():
    assert {name: higher_is_better(name) for name in ALL} == {
        "mae": False, "rmse": False, "r2": True, "pearson": True, "spearman": True
    }  # fmt: skip


def test_equal_predictions_have_no_correlation_and_one_warning(caplog):
    for _ in range(2):
        result = judged([0.4, 0.4, 0.4], [0.1, 0.4, 1.0])
    assert set(result.values) == {"mae", "rmse", "r2"}
    assert sum("pearson is left out" in record.message for record in caplog.records) == 1


def test_equal_targets_leave_only_the_errors():
    assert judged([0.1, 0.5], [0.3, 0.3]).values == pytest.approx({"mae": 0.2, "rmse": 0.2})
    assert judged([0.1], [0.3]).values == pytest.approx({"mae": 0.2, "rmse": 0.2})


def test_outputs_that_are_not_finite_are_refused():
    with pytest.raises(PlanError, match="diverged"):
        judged([math.nan, 0.1], [0.3, 0.3])


def test_metrics_of_classes_are_refused():
    assert metrics_for("regression", num_classes=1) == ALL
    with pytest.raises(ComponentError) as caught:
        check_metrics(("accuracy",), AGE, problem="regression")
    assert caught.value.allowed == "mae, rmse, r2, pearson, spearman"
    assert "'regression' with 1 number" in str(caught.value)


def test_every_metric_of_numbers_is_for_regression_only():
    assert {name for name, makers in METRICS.items() if "regression" in makers} == set(ALL)
    assert all(set(METRICS[name]) == {"regression"} for name in ALL)


@settings(max_examples=25, deadline=None)
@given(
    pairs=st.lists(
        st.tuples(st.floats(-1e3, 1e3, width=32), st.floats(-1e3, 1e3, width=32)),
        min_size=1,
        max_size=12,
    )
)
def test_values_are_finite_within_bounds_and_plain_json(pairs):
    predicted, true = map(list, zip(*pairs, strict=True))
    values = judged(predicted, true).values
    json.dumps(values, allow_nan=False)
    assert 0 <= values["mae"] <= values["rmse"] + 1e-6
    assert values.get("r2", 0) <= 1
    assert all(abs(values.get(name, 0)) <= 1 for name in ("pearson", "spearman"))
