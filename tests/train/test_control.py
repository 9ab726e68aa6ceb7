"""Stops, errors and timed saves between steps, within one process."""

import itertools
import signal
import time
from dataclasses import replace

import pytest

from hftune.errors import DataError
from hftune.recipe.schema import SaveRecipe, TrainRecipe
from hftune.train.checkpoint import CHECKPOINTS, list_checkpoints
from hftune.train.control import Control, Ready
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.world import join_world, make_accelerator


@pytest.fixture
def make_control(make_recipe, make_tiny_model, make_splits):
    def make(**changes):
        plan = make_plan(make_recipe(**changes), make_tiny_model(), make_splits(), join_world())
        return Control(make_accelerator(plan.precision), plan)

    return make


def wait_and_stop():
    """Ask for a stop while the next item is awaited, as a slow disk would allow."""
    signal.raise_signal(signal.SIGTERM)
    time.sleep(60)
    yield "never"


def fail():
    raise DataError("this image cannot be read")
    yield


def test_waiting_for_data_ends_with_a_stop(make_control):
    with make_control() as control:
        ready = control.wait_for(wait_and_stop())
        assert ready == Ready()
        wish = control.agree(3, ready)
    assert (wish.save, wish.stop) == (True, True)


def test_so_does_waiting_in_an_evaluation(make_control):
    with make_control() as control:
        assert control.next_or_none(iter([3])) == 3
        assert control.next_or_none(iter([])) is None
        assert not control.agree_to_stop()
        assert control.next_or_none(wait_and_stop()) is None
        assert control.agree_to_stop()


def test_a_signal_while_a_step_is_taken_ends_the_next_waiting_at_once(make_control):
    with make_control() as control:
        signal.raise_signal(signal.SIGUSR1)
        assert control.wait_for(iter(["unused"])) == Ready()


def test_an_error_of_one_rank_is_raised_where_all_agree(make_control):
    with make_control() as control:
        ready = control.wait_for(fail())
        assert ready.item is None
        with pytest.raises(DataError, match="cannot be read"):
            control.agree(3, ready)


def test_a_checkpoint_by_steps_is_not_made_twice(make_control):
    with make_control(save=SaveRecipe(every="2 steps")) as control:
        wishes = [control.agree(step, Ready(item=0)).save for step in (0, 1, 2, 3, 4)]
        assert wishes == [False, False, True, False, True]
        control.note_save(4)
        assert not control.agree(4, Ready(item=0)).save


def test_signals_are_given_back(make_control):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with make_control():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.parametrize(("passed", "stops"), [(5.6, False), (5.8, True)])
def test_a_time_budget_leaves_room_for_the_last_checkpoint(make_control, passed, stops):
    train_recipe = TrainRecipe(batch_size=8, precision="fp32", time_budget="6 s")
    with make_control(train=train_recipe) as control:
        control._signals.started = time.monotonic() - passed  # 5 % of 6 s are kept free
        assert not control.agree(3, Ready(item=0)).stop  # a step is taken in any case
        assert control.agree(4, Ready(item=0)).stop is stops
        assert control.agree_to_stop() is stops


def test_a_run_that_used_its_time_goes_on_by_the_same_call(
    make_recipe, make_tiny_model, make_splits, run, state_of, assert_equal_states, tmp_path
):
    recipe, splits = make_recipe(), make_splits()
    whole = make_tiny_model()
    other = tmp_path / "other"
    other.mkdir()
    train(make_plan(recipe, whole, splits, join_world()), whole, splits, other)

    short = replace(recipe, train=replace(recipe.train, time_budget="0.001 s"))
    model = make_tiny_model()
    plan = make_plan(short, model, splits, join_world())
    assert [train(plan, model, splits, run).step for _ in range(3)] == [1, 2, 3]
    progress = train(make_plan(recipe, model, splits, join_world()), model, splits, run)
    assert progress.step == 9
    assert_equal_states(state_of(model), state_of(whole))


def test_a_clock_that_jumps_moves_nothing(
    make_recipe, make_tiny_model, make_splits, run, state_of, assert_equal_states, tmp_path,
    monkeypatch,
):  # fmt: skip
    recipe, splits = make_recipe(save=SaveRecipe(every="1 h")), make_splits()
    models = [make_tiny_model(), make_tiny_model()]
    train(make_plan(recipe, models[0], splits, join_world()), models[0], splits, run)
    other = tmp_path / "other"
    other.mkdir()
    days = itertools.cycle((0.0, 1e9, -1e6, 4e9))
    monkeypatch.setattr(time, "time", lambda: next(days))
    train(make_plan(recipe, models[1], splits, join_world()), models[1], splits, other)
    assert_equal_states(state_of(models[1]), state_of(models[0]))
    saved = [
        [path.name for path in list_checkpoints(folder / CHECKPOINTS)] for folder in (run, other)
    ]
    assert saved[0] == saved[1] == ["step-00000009"]
