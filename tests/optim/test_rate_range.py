"""The range test's arithmetic: rates, smoothing by hand and by torch, and what curves say."""

import math
import random
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hftune.errors import RequestError
from hftune.optim.rate_range import (
    RateCurve,
    RateRange,
    check_range,
    has_diverged,
    smoothed,
    suggest,
)


def curve_of(loss, *, noise=0.0, seed=0, **span):
    """The curve of a loss that depends on the rate alone, with noise."""
    wanted = RateRange(**span)
    draw = random.Random(seed)
    losses, ends_early = [], False
    for rate in wanted.rates():
        losses.append(loss(rate) + draw.gauss(0, noise))
        if ends_early := has_diverged(smoothed(losses, wanted)):
            break
    return RateCurve(
        range=wanted,
        rates=wanted.rates()[: len(losses)],
        losses=tuple(losses),
        smooth=tuple(smoothed(losses, wanted)),
        ends_early=ends_early,
    )


def valley(rate):
    """Level below 1e-4, falling fastest at 1e-3, lowest near 1e-2, lost beyond 0.1."""
    return 0.4 + 0.3 / (1 + math.exp(4 * (math.log10(rate) + 3))) + (rate / 0.1) ** 2


@settings(deadline=None)
@given(lowest=st.floats(1e-12, 1e-2), factor=st.floats(1.001, 1e12), steps=st.integers(10, 300))
def test_rates_rise_by_the_same_multiple_from_end_to_end(lowest, factor, steps):
    wanted = RateRange(lowest=lowest, highest=lowest * factor, steps=steps)
    rates = wanted.rates()
    assert len(rates) == steps
    assert (rates[0], rates[-1]) == (wanted.lowest, wanted.highest)
    multiples = [after / before for before, after in pairwise(rates)]
    assert multiples == pytest.approx([factor ** (1 / (steps - 1))] * (steps - 1), rel=1e-9)


def test_smoothing_by_hand():
    # 100 steps: the mean keeps 0.8. First 2; then (0.8 * 0.4 + 0.2 * 1) / (1 - 0.64) = 13 / 9.
    assert smoothed([2.0, 1.0], RateRange(steps=100)) == pytest.approx([2.0, 13 / 9])


@settings(deadline=None, max_examples=25)
@given(losses=st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_smoothing_of_a_long_range_agrees_with_adams_bias_correction(losses):
    # Adam's first moment with beta1 = 0.9 is the same mean; its step with beta2 = 0 divides by the
    # size of the gradient, so the moment is read from the state and corrected as in its paper.
    parameter = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([parameter], betas=(0.9, 0.0))
    expected = []
    for number, loss in enumerate(losses, start=1):
        parameter.grad = torch.tensor([loss], dtype=torch.float64)
        optimizer.step()
        moment = float(optimizer.state[parameter]["exp_avg"])
        expected.append(moment / (1 - 0.9**number))
    assert smoothed(losses, RateRange(steps=200)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_smoothing_leaves_a_level_loss_as_it_is():
    assert smoothed([0.7] * 50, RateRange(steps=50)) == pytest.approx([0.7] * 50)


def test_a_loss_is_lost_above_its_start_and_at_four_times_its_best_or_where_it_is_no_number():
    assert not has_diverged([1.0, 0.5, 1.9])
    assert has_diverged([1.0, 0.5, 2.1])
    assert not has_diverged([1.0, 1e-6, 0.9])
    assert has_diverged([1.0, 1e-6, 1.1])
    assert has_diverged([1.0, math.nan])
    assert has_diverged([math.inf])


@pytest.mark.parametrize("steps", [50, 100, 300])
def test_a_clean_valley_gives_the_steepest_place_and_a_tenth_of_the_lowest(steps):
    curve = curve_of(valley, steps=steps)
    found = suggest(curve)
    assert found.reason is None
    assert curve.ends_early
    lowest = curve.rates[curve.smooth.index(min(curve.smooth))]
    assert found.bound == pytest.approx(lowest / 10)
    # Smoothing looks back, so what it shows comes a little later than 1e-3.
    assert 1e-3 < found.steepest < 4e-3
    assert found.rate == min(found.steepest, found.bound)


def test_noise_moves_the_answer_within_a_small_factor():
    clean = suggest(curve_of(valley)).rate
    for seed in range(20):
        found = suggest(curve_of(valley, noise=0.05, seed=seed))
        assert clean / 4 < found.rate < clean * 4


def test_noise_alone_rarely_gives_an_answer():
    answers = [suggest(curve_of(lambda _: 0.7, noise=0.1, seed=seed)).rate for seed in range(100)]
    assert sum(answer is not None for answer in answers) <= 5


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (lambda rate: 1 + rate, "did not fall before it rose"),
        (lambda _: 0.5, "fell no more than chance"),
        (lambda rate: 1 - 0.1 * math.log10(rate), "still falling at the highest rate"),
    ],
)
def test_a_curve_without_an_answer_says_why(loss, reason):
    found = suggest(curve_of(loss))
    assert reason in found.reason
    assert (found.rate, found.steepest, found.bound) == (None, None, None)


def test_a_curve_of_a_few_steps_has_no_answer():
    assert (
        "did not fall"
        in suggest(curve_of(lambda rate: 10 ** (10 * rate), lowest=1.0, highest=10.0)).reason
    )


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"lowest": 1.0, "highest": 1e-7}, "from 1 to 1e-07: the rate has to rise"),
        ({"lowest": 0.1, "highest": 0.1}, "from 0.1 to 0.1: the rate has to rise"),
        ({"lowest": 0.0}, "lowest rate 0: give a number above zero"),
        ({"lowest": -1.0, "highest": math.nan, "steps": 9},
         "lowest rate -1: give a number above zero\nhighest rate nan: give a number above zero\n"
         "9 steps: give 10 or more"),
    ],
)  # fmt: skip
def test_a_range_that_cannot_be_tested_is_refused_with_all_reasons(options, found):
    with pytest.raises(RequestError) as caught:
        check_range(RateRange(**options))
    assert caught.value.found == found


def test_the_default_range_can_be_tested():
    check_range(RateRange())
