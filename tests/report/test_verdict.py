"""Verdicts: which arm is better in the metric's own direction, and what stays open."""

import numpy as np
import pytest
import torch

from hftune.errors import DataError
from hftune.report.verdict import weigh
from tests.twins import run_of, twin_run


def half(number, start=0):
    """`number` images of 100 right, from `start` on."""
    right = np.zeros(100, dtype=bool)
    right[start : start + number] = True
    return right


def weigh_answers(**arms):
    runs = {name: [twin_run(right) for right in seeds] for name, seeds in arms.items()}
    return weigh(runs, metric="accuracy", problem="single_label", times=400)


def test_a_clear_difference_names_the_better_arm():
    found = weigh_answers(good=[half(90)], bad=[half(50)])
    (pair,) = found.pairs
    assert pair.verdict == "first"
    assert pair.difference.value == pytest.approx(0.4)
    assert pair.difference.low > 0
    (pair,) = weigh_answers(bad=[half(50)], good=[half(90)]).pairs
    assert pair.verdict == "second"


def test_no_difference_is_open_and_no_number_would_show_it():
    (pair,) = weigh_answers(one=[half(70)], other=[half(70, start=30)]).pairs
    assert pair.verdict == "open"
    assert pair.difference.value == 0
    assert pair.needed.images is None


def test_a_small_difference_is_open_and_says_how_many_images_it_takes():
    right = half(72, start=20)
    (pair,) = weigh_answers(one=[half(70)], other=[right]).pairs
    assert pair.verdict == "open"
    # d = 0.02; the 42 images that one alone got right have a variance of 0.42 - 0.02^2 each:
    # 7.849 x 0.4196 / 0.0004 = 8233 images; the 400 resamples know the variance to 1 in 14.
    assert pair.needed.images == pytest.approx(8233, rel=0.25)


def test_fewer_errors_are_better_where_less_is_better():
    targets = torch.linspace(0, 1, 60)[:, None]
    near, far = run_of(targets + 0.01, targets), run_of(targets + 0.3, targets)
    found = weigh({"near": [near], "far": [far]}, metric="mae", problem="regression", times=200)
    (pair,) = found.pairs
    assert pair.difference.value == pytest.approx(-0.29)
    assert pair.verdict == "first"
    assert pair.answered is None


def test_answers_are_counted_per_seed_and_held_against_the_number_of_pairs():
    one, other = [half(60), half(60)], [half(52), half(60)]
    third = [half(60, start=40), half(60)]
    found = weigh_answers(one=one, other=other, third=third)
    first = found.pairs[0]
    assert (first.first, first.second) == ("one", "other")
    counts = [
        (count.both, count.only_first, count.only_second, count.neither)
        for count in first.answered.seeds
    ]
    assert counts == [(52, 8, 0, 40), (60, 0, 0, 40)]
    assert first.answered.summed.only_first == 8
    # Seed 0, by hand: 8 : 0 gives 2/256; 40 : 40 gives 1; other against third 40 : 48.
    assert first.answered.seeds[0].p == 2 / 256
    assert first.answered.adjusted == (pytest.approx(3 * 2 / 256), 1.0)


def test_an_arm_is_its_mean_over_seeds_with_their_deviation():
    found = weigh_answers(one=[half(60), half(70)], other=[half(50), half(50)])
    arm = found.arms[0]
    assert arm.values == (0.6, 0.7)
    assert arm.interval.value == pytest.approx(0.65)
    assert arm.spread == pytest.approx(0.1 / np.sqrt(2))
    assert (arm.num_trainable, arm.num_parameters, arm.steps) == (400, 1000, 8)
    assert weigh_answers(one=[half(60)], other=[half(50)]).arms[0].spread is None


def test_further_metrics_are_those_that_every_seed_reported():
    runs = [
        twin_run(half(60), values={"accuracy": 0.6, "macro_f1": 0.5, "auroc": 0.7}),
        twin_run(half(70), values={"accuracy": 0.7, "macro_f1": 0.6}),
    ]
    other = [twin_run(half(50)), twin_run(half(50))]
    found = weigh({"one": runs, "other": other}, metric="accuracy", problem="single_label")
    assert found.arms[0].others == {"accuracy": (0.6, 0.7), "macro_f1": (0.5, 0.6)}


def test_a_metric_that_the_images_leave_undefined_is_refused():
    # All images are of one class: there is nothing to rank them against.
    runs = {name: [twin_run(half(60))] for name in ("one", "other")}
    with pytest.raises(DataError, match="auroc is undefined"):
        weigh(runs, metric="auroc", problem="single_label", times=50)


def test_the_same_runs_give_the_same_comparison():
    arms = {"one": [half(60), half(62)], "other": [half(50), half(49)]}
    assert weigh_answers(**arms) == weigh_answers(**arms)
