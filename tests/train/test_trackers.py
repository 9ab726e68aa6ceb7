"""Trackers get the same numbers as metrics.jsonl; a missing one is said, not passed over."""

import importlib.util
import json
from dataclasses import replace

import pytest
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType

from hftune.errors import MissingPackageError, PlanError
from hftune.recipe.schema import TrackRecipe
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.trackers import check_trackers
from hftune.train.world import join_world


def test_an_unknown_tracker_lists_the_known_ones():
    with pytest.raises(PlanError) as caught:
        check_trackers(["tensorbord"])
    assert "tensorboard" in caught.value.allowed


def test_a_tracker_that_is_not_installed_is_named():
    installed = {str(kind) for kind in get_available_trackers()}
    missing = [kind.value for kind in LoggerType if kind.value not in {*installed, "all"}]
    assert missing, "every tracker that Accelerate knows is installed here"
    with pytest.raises(MissingPackageError, match="not installed"):
        check_trackers(missing[:1])
    check_trackers(sorted(installed))


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="needs the extra 'tensorboard'"
)
def test_tensorboard_gets_the_numbers_of_the_run(make_recipe, make_tiny_model, make_splits, run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = make_recipe()
    recipe = replace(recipe, track=TrackRecipe(every="1 steps", trackers=("tensorboard",)))
    plan = make_plan(recipe, make_tiny_model(), make_splits(), join_world())
    train(plan, make_tiny_model(), make_splits(), run)
    (events,) = {path.parent for path in run.rglob("events.out.tfevents.*")}
    seen = EventAccumulator(str(events)).Reload()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    expected = [line["loss"] for line in lines if line["kind"] == "train"]
    assert [item.value for item in seen.Scalars("train/loss")] == pytest.approx(expected)
    accuracy = [line["values"]["accuracy"] for line in lines if line["kind"] == "eval"]
    assert [item.value for item in seen.Scalars("val/accuracy")] == pytest.approx(accuracy)
