"""What a comparison says in words: better, open, and what a reader must keep in mind."""

from dataclasses import replace

import numpy as np
import pytest

from hftune.metrics.bootstrap import Interval
from hftune.report.comparison_text import comparison_page, pairs_table, verdict_sentence
from hftune.report.paired import McNemar, Needed
from hftune.report.verdict import Answered, ArmResult, Comparison, PairResult, weigh
from tests.twins import twin_run

COUNT = McNemar(both=80, only_first=4, only_second=12, neither=4, p=0.0768)
PAIR = PairResult(
    first="head",
    second="all",
    difference=Interval(value=-0.08, low=-0.16, high=-0.01),
    per_seed=(-0.08, -0.08),
    verdict="second",
    needed=Needed(images=120, seeds=None),
    answered=Answered(seeds=(COUNT, COUNT), summed=COUNT, adjusted=(0.0768, 0.0001)),
)


def arm(name, value):
    return ArmResult(
        name=name,
        values=(value, value),
        interval=Interval(value=value, low=value - 0.03, high=value + 0.03),
        spread=0.0,
        others={"accuracy": (value, value), "macro_f1": (0.5, 0.7)},
        num_trainable=400,
        num_parameters=1000,
        steps=8,
        seconds=90.0,
        images_per_second=50.0,
    )


COMPARISON = Comparison(
    metric="accuracy",
    split="test",
    num_images=100,
    num_seeds=2,
    resamples=2000,
    undefined=0.0,
    arms=(arm("head", 0.84), arm("all", 0.92)),
    pairs=(PAIR,),
)


def test_the_better_arm_comes_first_whatever_the_order():
    assert verdict_sentence(PAIR, COMPARISON) == (
        "`all` is better than `head`: accuracy 0.9200 against 0.8400, 0.0800 apart "
        "(0.0100 to 0.1600)."
    )


def test_an_open_pair_says_so_and_what_it_takes():
    pair = replace(
        PAIR, verdict="open", difference=Interval(value=-0.08, low=-0.16, high=0.01)
    )  # fmt: skip
    assert verdict_sentence(pair, COMPARISON) == (
        "`head` and `all` cannot be told apart on these 100 images: accuracy 0.8400 and 0.9200, "
        "a difference between -0.1600 and +0.0100. To show a difference that small, were it real, "
        "would take about 120 images in place of 100."
    )


@pytest.mark.parametrize(
    ("needed", "said"),
    [
        (Needed(images=8233, seeds=None), "about 8,300 images in place of 100."),
        (Needed(images=None, seeds=7), "would take about 7 seeds in place of 2."),
        (Needed(images=120, seeds=12), "about 120 images in place of 100 or about 12 seeds"),
        (Needed(images=None, seeds=None), "would take both more images and more seeds."),
    ],
)
def test_what_it_takes_is_images_or_seeds_or_both(needed, said):
    assert said in verdict_sentence(replace(PAIR, verdict="open", needed=needed), COMPARISON)


def test_equal_scores_have_nothing_to_show():
    pair = replace(PAIR, verdict="open", difference=Interval(value=0, low=-0.1, high=0.1))
    assert "no number of images shows a difference of nothing" in verdict_sentence(pair, COMPARISON)


def test_the_page_holds_the_numbers_of_every_arm_and_pair():
    page = comparison_page(COMPARISON, picture="a.png")
    assert "the same 100 images of the test split, 2 seeds per arm" in page
    row = "| `head` | 0.8400 | 0.0000 | 0.8100 to 0.8700 | 0.6000 | 400 of 1,000 | 8 | 1 min 30 s |"
    assert row in page
    row = "| `head` - `all` | -0.0800 | -0.1600 to -0.0100 | `all` | 80 | 4 | 12 | 4 | 0.077, < 0"
    assert row in page
    assert "![accuracy by arm, and over the epochs](a.png)" in page


def test_numbers_have_no_counts_of_right_answers():
    without = replace(COMPARISON, pairs=(replace(PAIR, answered=None),))
    assert "right" not in pairs_table(without)
    assert "McNemar" not in comparison_page(without, picture="a.png")


def test_one_seed_validation_images_and_undefined_resamples_are_warned_of():
    page = comparison_page(COMPARISON, picture="a.png")
    assert "estimated from 2" in page
    assert "no test split" not in page
    poor = replace(COMPARISON, num_seeds=1, split="val", undefined=0.02)
    page = comparison_page(poor, picture="a.png")
    assert "One seed per arm" in page
    assert "There is no test split" in page
    assert "2.0% of the resamples left accuracy undefined" in page


def test_many_pairs_are_warned_of():
    right = np.arange(100) < 60
    arms = {name: [twin_run(right)] for name in "abcde"}
    found = weigh(arms, metric="accuracy", problem="single_label", times=20)
    page = comparison_page(found, picture="a.png")
    assert "among 10 pairs of equal arms, 0.5 are expected to look different" in page
    assert "Holm's correction for 10 pairs" in page
