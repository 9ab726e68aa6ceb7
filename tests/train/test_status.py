"""The words for where a run is, and what a run says of itself where nobody draws."""

import logging
from dataclasses import replace

import pytest

from hftune.recipe.schema import EvalRecipe, TrainRecipe
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.screen import evaluations_ahead
from hftune.train.status import Pace, Status, open_view, plain_line, watched_by
from hftune.train.world import join_world

BEGUN = Status(
    run="small", step=0, total_steps=100, steps_per_epoch=40, phase="head", metric="accuracy"
)
PACE = Pace(
    loss=0.43121, rates=(3e-4, 3e-4), images_per_second=412.34, waiting=0.021,
    memory=1932735283, peak=2362232013,
)  # fmt: skip


class Seen:
    """A view that keeps all it is shown."""

    def __init__(self) -> None:
        self.shown: list[Status] = []
        self.is_closed = False

    def show(self, status: Status) -> None:
        self.shown.append(status)

    def close(self) -> None:
        self.is_closed = True


def test_a_run_that_has_only_begun_tells_no_number_that_it_does_not_know():
    assert plain_line(BEGUN) == "step 0/100  epoch 0.00 of 2.5"


def test_a_line_tells_all():
    status = replace(
        BEGUN, step=50, pace=PACE, last=0.912, last_step=40, best=0.918, best_step=20,
        epoch_left=51.4, left=440, saved_step=40, saved_ago=21, skipped_steps=2, bad_images=3,
    )  # fmt: skip
    assert plain_line(status) == (
        "step 50/100  epoch 1.25 of 2.5  51 s left of it  7 min 20 s left  loss 0.4312  lr 3.0e-04"
        "  accuracy 0.9120, best 0.9180 at step 20  412.3 images/s  waiting for data 2%"
        "  memory 1.8 GiB, peak 2.2 GiB  checkpoint of step 40, 21 s ago"
        "  fp16 steps skipped 2  bad images 3"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"best": 0.9, "best_step": 20}, "accuracy best 0.9000 at step 20"),  # after a resume
        (
            {"last": 0.9, "last_step": 20, "best": 0.9, "best_step": 20},
            "accuracy 0.9000, the best so far",
        ),
        ({"pace": replace(PACE, rates=(1.2e-5, 3e-4))}, "lr 1.2e-05 to 3.0e-04"),
        ({"epoch_left": 30.0, "left": 30.0}, "epoch 0.00 of 2.5  30 s left"),
        ({"epoch_left": 0.0, "left": 30.0}, "epoch 0.00 of 2.5  30 s left"),
    ],
)
def test_words_fit_what_is_known(changes, words):
    line = plain_line(replace(BEGUN, **changes))
    assert words in line
    assert "of it" not in line


@pytest.mark.parametrize(("step", "left"), [(0, 4), (2, 4), (3, 3), (9, 1), (10, 0)])
def test_evaluations_to_come_are_counted_with_the_one_at_the_end(
    step, left, make_recipe, make_tiny_model, make_splits
):
    recipe = make_recipe(
        train=TrainRecipe(length="10 steps", batch_size=8, precision="fp32"),
        eval=EvalRecipe(every="3 steps"),
    )
    plan = make_plan(recipe, make_tiny_model(), make_splits(), join_world())
    assert evaluations_ahead(step, plan) == left


def test_a_view_sees_every_step_and_what_came_of_it(
    make_recipe, make_tiny_model, make_splits, run, caplog
):
    plan = make_plan(make_recipe(), make_tiny_model(), make_splits(), join_world())
    seen = Seen()
    with watched_by(lambda: seen), caplog.at_level(logging.INFO):
        progress = train(plan, make_tiny_model(), make_splits(), run)
    assert open_view() is None
    assert seen.is_closed
    assert {status.step for status in seen.shown} == set(range(1, plan.total_steps + 1))
    doing = [status.doing for status in seen.shown]
    # 13 images in batches of 8, thrice
    assert [what for what in doing if what] == 3 * ["evaluating, 0% done", "evaluating, 50% done"]
    last = seen.shown[-1]
    assert (last.best, last.best_step) == (progress.best_value, progress.best_step)
    assert (last.saved_step, last.last_step, last.left) == (plan.total_steps, plan.total_steps, 0)
    assert last.pace is not None
    assert last.pace.peak >= last.pace.memory > 0
    assert not any("images/s" in message for message in caplog.messages)
    assert sum("val: loss" in message for message in caplog.messages) == 3


def test_without_a_view_each_report_is_a_line(
    make_recipe, make_tiny_model, make_splits, run, caplog
):
    plan = make_plan(make_recipe(), make_tiny_model(), make_splits(), join_world())
    with caplog.at_level(logging.INFO):
        train(plan, make_tiny_model(), make_splits(), run)
    lines = [message for message in caplog.messages if "images/s" in message]
    assert [line.split()[1] for line in lines] == [f"{step}/9" for step in range(1, 10)]
    assert "checkpoint of step" not in lines[0]
    assert "accuracy" in lines[-1]


def test_a_view_is_closed_where_training_fails(make_recipe, make_tiny_model, make_splits, run):
    class Broken(Seen):
        def show(self, status: Status) -> None:
            raise RuntimeError(f"no screen at step {status.step}")

    plan = make_plan(make_recipe(), make_tiny_model(), make_splits(), join_world())
    broken = Broken()
    with watched_by(lambda: broken), pytest.raises(RuntimeError, match="no screen"):
        train(plan, make_tiny_model(), make_splits(), run)
    assert broken.is_closed
