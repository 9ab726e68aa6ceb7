"""Paired statistics against hand calculation, printed tables and truths known by construction."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftune.metrics.bootstrap import Interval, percentile_interval
from hftune.report.paired import (
    holm,
    mcnemar,
    needed,
    resample,
    sign_test,
    sum_counts,
)


def hits(values):
    """The share of right answers, as a function of how often each image was drawn."""
    right = np.asarray(values, dtype=float)
    return lambda counts: counts @ right / counts.sum(axis=1)


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        (0, 0, 1.0),
        (0, 6, 2 / 64),
        (1, 8, 2 * (1 + 9) / 512),
        (8, 1, 2 * (1 + 9) / 512),
        (2, 8, 2 * (1 + 10 + 45) / 1024),
        (5, 5, 1.0),
    ],
)
def test_the_sign_test_is_the_binomial_by_hand(first, second, p):
    assert sign_test(first, second) == p


# Largest smaller count that is significant at 5 %, two-sided: any printed table of the sign test.
@pytest.mark.parametrize(
    ("total", "critical"),
    [(6, 0), (9, 1), (12, 2), (15, 3), (17, 4), (20, 5), (25, 7), (30, 9), (40, 13), (50, 17)],
)
def test_the_sign_test_agrees_with_the_printed_table(total, critical):
    assert sign_test(critical, total - critical) <= 0.05
    assert sign_test(critical + 1, total - critical - 1) > 0.05


def test_the_sign_test_stays_exact_where_floats_would_overflow():
    # Near the middle the normal approximation with continuity correction is good to 1e-4.
    first, second = 4900, 5100
    z = (abs(first - second) - 1) / math.sqrt(first + second)
    assert sign_test(first, second) == pytest.approx(math.erfc(z / math.sqrt(2)), abs=1e-4)


def test_mcnemar_counts_each_image_once():
    first = np.array([1, 1, 1, 0, 0, 1], dtype=bool)
    second = np.array([1, 0, 0, 1, 0, 1], dtype=bool)
    counts = mcnemar(first, second)
    assert (counts.both, counts.only_first, counts.only_second, counts.neither) == (2, 2, 1, 1)
    assert counts.p == 1.0
    twice = sum_counts([counts, counts])
    assert (twice.both, twice.only_first, twice.only_second, twice.neither) == (4, 4, 2, 2)


def test_holm_steps_down():
    # By hand: 0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1 raised to the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_holm_lies_between_the_raw_value_and_bonferroni(values):
    for raw, adjusted in zip(values, holm(values), strict=True):
        assert raw <= adjusted <= min(1.0, len(values) * raw) or adjusted == pytest.approx(raw)


def test_two_images_give_the_three_values_of_the_binomial():
    drawn = resample([[hits([1, 0])]], num_images=2, times=4000).draws[:, 0, 0]
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [0, 0.5, 1]
    # 1/4, 1/2, 1/4; four standard errors of a count of 4000.
    assert counts == pytest.approx([1000, 2000, 1000], abs=4 * math.sqrt(4000 / 4))


def test_pairs_share_their_resamples():
    right = np.random.default_rng(0).random(300) < 0.8
    one_better = right.copy()
    one_better[np.flatnonzero(~right)[0]] = True
    both = resample([[hits(one_better)], [hits(right)]], num_images=300)
    difference = both.difference(0, 1)
    # Alone each arm is uncertain by far more than the one image that tells them apart.
    assert difference.value == pytest.approx(1 / 300)
    assert difference.low == 0
    assert difference.high <= 5 / 300
    assert both.arm(1).high - both.arm(1).low > 20 / 300
    assert resample([[hits(right)], [hits(right)]], num_images=300).difference(0, 1) == Interval(
        value=0, low=0, high=0
    )


def test_the_variance_over_images_is_that_of_a_mean():
    generator = np.random.default_rng(1)
    first, second = (generator.random((3, 400)) < share for share in (0.8, 0.7))
    drawn = resample([[hits(row) for row in arm] for arm in (first, second)], num_images=400)
    difference = first.mean(axis=0) - second.mean(axis=0)
    # Var of a bootstrap mean = var / N exactly; the variance of 2000 draws is good to 1 in 20.
    assert drawn.image_variance(0, 1) == pytest.approx(difference.var() / 400, rel=0.12)
    per_seed = first.mean(axis=1) - second.mean(axis=1)
    assert drawn.seed_variance(0, 1) == pytest.approx(per_seed.var(ddof=1) / 3)


def test_seeds_are_drawn_alike_for_every_arm():
    # Both arms move together from seed to seed: nothing is left in their difference.
    arm = [hits([1, 1, 1, 1]), hits([0, 0, 0, 0])]
    drawn = resample([arm, arm], num_images=4)
    assert drawn.difference(0, 1) == Interval(value=0, low=0, high=0)
    assert drawn.arm(0) == Interval(value=0.5, low=0, high=1)


def test_one_seed_leaves_the_images_alone():
    drawn = resample([[hits([1, 0, 1, 1])], [hits([0, 0, 1, 1])]], num_images=4)
    assert set(drawn.seeds.ravel().tolist()) == {0}
    assert drawn.seed_variance(0, 1) == 0


def test_the_same_seed_gives_the_same_draws_whatever_the_blocks(monkeypatch):
    measures = [[hits(np.arange(50) % 3 == 0)], [hits(np.arange(50) % 2 == 0)]]
    first = resample(measures, num_images=50, times=100)
    monkeypatch.setattr("hftune.metrics.bootstrap._BLOCK", 170)
    second = resample(measures, num_images=50, times=100)
    assert np.array_equal(first.draws, second.draws)
    assert np.array_equal(first.seeds, second.seeds)
    other = resample(measures, num_images=50, times=100, seed=1)
    assert not np.array_equal(first.draws, other.draws)


@pytest.mark.parametrize(("num_seeds", "spread"), [(1, 0.0), (3, 0.05), (5, 0.1)])
def test_the_interval_covers_a_known_truth(num_seeds, spread):
    # Two arms equal by construction, on shared images, each seed a little better or worse.
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(150):
        ease = generator.normal(0.5, 1, size=150)

        def arm(ease=ease):
            shifts = generator.normal(0, spread, size=num_seeds)
            return [hits(ease + shift + generator.normal(0, 0.7, 150) > 0) for shift in shifts]

        drawn = resample([arm(), arm()], num_images=150, times=200)
        covered += drawn.difference(0, 1).holds(0)
    # 95 % is meant; four standard errors below, and at most all.
    assert covered >= 150 * 0.95 - 4 * math.sqrt(150 * 0.95 * 0.05)


def test_an_interval_that_ignored_the_seeds_would_be_too_narrow():
    generator = np.random.default_rng(2)
    shifts = generator.normal(0, 0.3, size=(2, 5))
    ease = generator.normal(0.5, 1, size=400)
    arms = [[hits(ease + shift > 0) for shift in row] for row in shifts]
    drawn = resample(arms, num_images=400)
    means = drawn.draws.mean(axis=2)
    images_only = percentile_interval(0.0, means[:, 0] - means[:, 1])
    both = drawn.difference(0, 1)
    assert both.high - both.low > 1.5 * (images_only.high - images_only.low)


def test_undefined_resamples_are_left_out():
    draws = np.array([np.nan, 0.0, 1.0, np.nan])
    interval = percentile_interval(0.5, draws)
    assert (interval.low, interval.high) == pytest.approx((0.025, 0.975))


def test_what_would_be_needed_is_the_normal_sample_size():
    # 0.02 seen with power 80 % asks for a standard error of 0.02 / (1.95996 + 0.84162).
    found = needed(0.02, image_variance=1e-4, seed_variance=0, num_images=100, num_seeds=1)
    assert found.images == math.ceil(100 * 1e-4 / (0.02 / 2.80158) ** 2) == 197
    assert found.seeds is None


def test_what_more_images_cannot_show_asks_for_seeds():
    found = needed(0.02, image_variance=1e-6, seed_variance=1e-4, num_images=100, num_seeds=3)
    assert found.images is None
    assert found.seeds == math.ceil(3 * 1e-4 / ((0.02 / 2.80158) ** 2 - 1e-6)) == 7


def test_no_number_shows_no_difference():
    found = needed(0.0, image_variance=1e-4, seed_variance=1e-4, num_images=100, num_seeds=3)
    assert (found.images, found.seeds) == (None, None)
