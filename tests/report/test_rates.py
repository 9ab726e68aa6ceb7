"""Rates over a run as numbers, by hand, and as pictures; the picture of a range test."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hftune.core import Phase
from hftune.errors import PlanError
from hftune.optim.rate_range import RateCurve, RateRange, smoothed, suggest
from hftune.optim.schedules import SCHEDULES
from hftune.recipe.schema import Component, OptimRecipe, TrainRecipe, UnfreezeStep
from hftune.report.range_curve import plot_range_test
from hftune.report.rate_chart import chart_of_plan, chart_of_recipe, sampled_steps
from hftune.report.rates import band_label, plot_rates, wants_logarithm
from hftune.report.schedule_shapes import EXAMPLES, plot_schedules
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.world import join_world
from tests.drawn import drawn_splits, tiny_model, tiny_recipe

PHASES = (
    UnfreezeStep(at="0%", train=("head",)),
    UnfreezeStep(at="50%", train=("all",), lr_factor=0.5, warmup="2 steps"),
)
# Twelve steps at 1e-3, a tenth of it from the ninth on.
OPTIM = OptimRecipe(
    lr=1e-3,
    rates={"head": "3x"},
    schedule=Component(name="multi_step", options={"milestones": ["9 steps"]}),
)
LENGTH = TrainRecipe(length="12 steps", batch_size=8)


def drawn_share(path: Path) -> float:
    """Give the share of pixels that are not white."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("L"))
    return float((pixels < 250).mean())


def chart(**changes):
    recipe = tiny_recipe(**{"optim": OPTIM, "unfreeze": PHASES, "train": LENGTH} | changes)
    model = tiny_model()
    return chart_of_plan(make_plan(recipe, model, drawn_splits(), join_world()), model)


def lines_of(made):
    return {line.label: line.rates for line in made.lines}


def test_the_rates_of_every_group_by_hand():
    lines = lines_of(chart())
    assert list(lines) == ["head", "main"]  # the highest first
    # The second phase halves the rate, and rises from a hundredth over its first two steps.
    factors = [1] * 6 + [0.5 * 0.01, 0.5 * 0.505, 0.5] + [0.05] * 3
    assert lines["head"] == pytest.approx([3e-3 * factor for factor in factors])
    assert all(math.isnan(rate) for rate in lines["main"][:6])
    assert lines["main"][6:] == pytest.approx([1e-3 * factor for factor in factors[6:]])


def test_the_rates_are_those_that_the_optimizer_gets(tmp_path):
    recipe = tiny_recipe(optim=OPTIM, unfreeze=PHASES, train=LENGTH)
    model, splits = tiny_model(), drawn_splits()
    plan = make_plan(recipe, model, splits, join_world())
    made = chart_of_plan(plan, model)
    train(plan, model, splits, tmp_path)
    entries = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    peaks = [entry["lr"] for entry in entries if entry["kind"] == "train"]
    assert [3 * peak for peak in peaks] == pytest.approx(list(lines_of(made)["head"]), rel=1e-12)


def test_a_recipe_alone_gives_a_line_per_setting_and_its_phases():
    optim = replace(OPTIM, lr_batch_size=16, rates={"head": "3x", "norm": 1e-4, "embed": 0})
    made = chart_of_recipe(
        tiny_recipe(optim=optim, unfreeze=PHASES, train=LENGTH), steps_per_epoch=4
    )
    lines = lines_of(made)
    # A batch of 8 for rates stated for 16: all are halved. A freeze is no line.
    assert {label: rates[0] for label, rates in lines.items()} == pytest.approx(
        {"head": 1.5e-3, "main": 0.5e-3, "norm": 0.5e-4}
    )
    assert [(phase.start, phase.stop) for phase in made.phases] == [(0, 6), (6, 12)]
    assert made.note == "peak 0.0005 (0.001 for a batch of 16); multi_step (milestones ['9 steps'])"
    assert made.line_is == "setting"


def test_a_recipe_alone_agrees_with_its_plan_where_both_know():
    train = TrainRecipe(length="4 epochs", batch_size=8)
    whole = chart(train=train)
    alone = chart_of_recipe(
        tiny_recipe(optim=OPTIM, unfreeze=PHASES, train=train), steps_per_epoch=3
    )
    assert lines_of(whole)["head"] == lines_of(alone)["head"]
    assert whole.note == alone.note


def test_a_recipe_alone_is_refused_where_its_phases_are_past_the_end():
    late = (PHASES[0], replace(PHASES[1], at="20 steps"))
    with pytest.raises(PlanError, match="when training is over"):
        chart_of_recipe(tiny_recipe(unfreeze=late, train=LENGTH), steps_per_epoch=4)


def test_with_layer_decay_there_is_one_line_per_depth():
    whole = (UnfreezeStep(train=("all",)),)
    made = chart(optim=replace(OPTIM, rates={}, layer_decay=0.5), unfreeze=whole)
    num_depths = tiny_model().layers.num_depths
    assert [line.peak for line in made.lines] == pytest.approx(
        [1e-3 * 0.5**n for n in range(num_depths)]
    )


def test_long_runs_are_sampled_with_the_ends_of_their_phases():
    phases = [
        Phase(start=0, stop=77_777, trainable=frozenset(), label=""),
        Phase(start=77_777, stop=1_000_001, trainable=frozenset(), label=""),
    ]
    steps = sampled_steps(phases, 1_000_001)
    assert len(steps) < 5000
    assert {0, 77_776, 77_777, 1_000_000} <= set(steps)
    assert list(steps) == sorted(steps)
    assert sampled_steps(phases, 300) == tuple(range(300))


def test_a_logarithmic_axis_is_for_rates_far_apart():
    level = Component(name="constant")
    assert not wants_logarithm(chart(optim=OptimRecipe(rates={"head": "3x"}, schedule=level)))
    assert wants_logarithm(chart(optim=OptimRecipe(rates={"head": "100x"}, schedule=level)))


def test_a_phase_is_named_by_what_it_trains_and_does():
    phase = Phase(
        start=0, stop=9, trainable=frozenset(), label="head", lr_factor=0.5, warmup_steps=3
    )
    assert band_label(phase) == "head\nrates x 0.5\nwarm-up of 3 steps"
    assert len(band_label(replace(phase, label="x" * 99)).splitlines()[0]) == 40


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optim": replace(OPTIM, rates={}, layer_decay=0.5)},
        {"optim": OptimRecipe(schedule=Component(name="plateau"))},
        {"train": TrainRecipe(length="1 steps", batch_size=8), "unfreeze": PHASES[:1],
         "optim": OptimRecipe(schedule=Component(name="cosine"))},
    ],
)  # fmt: skip
def test_the_picture_of_a_run(changes, tmp_path):
    made = chart(**changes)
    first = plot_rates(made, tmp_path / "rates.png").read_bytes()
    assert 0.01 < drawn_share(tmp_path / "rates.png") < 0.9
    assert plot_rates(made, tmp_path / "again.png").read_bytes() == first


@pytest.mark.parametrize("loss", [lambda rate: 1 / (1 + 1e3 * rate) + rate**2, lambda _: 0.7])
def test_the_picture_of_a_range_test(loss, tmp_path):
    wanted = RateRange(steps=50)
    losses = [loss(rate) for rate in wanted.rates()]
    curve = RateCurve(
        range=wanted,
        rates=wanted.rates(),
        losses=tuple(losses),
        smooth=tuple(smoothed(losses, wanted)),
        ends_early=False,
    )
    path = plot_range_test(curve, suggest(curve), tmp_path / "curve.png", name="tiny")
    assert 0.005 < drawn_share(path) < 0.9


def test_the_picture_for_the_documentation_shows_every_schedule(tmp_path):
    assert list(EXAMPLES) == list(SCHEDULES)
    assert drawn_share(plot_schedules(tmp_path / "schedules.png")) > 0.01
