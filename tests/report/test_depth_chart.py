"""The rate at every depth: what a plan keeps of it, joined with what a run reported."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hftune.errors import RunFolderError
from hftune.files import write_json
from hftune.recipe.schema import OptimRecipe, TrainRecipe, UnfreezeStep
from hftune.report.depth_chart import depth_chart, plot_depth_rates
from hftune.report.finished import read_finished
from hftune.report.history import History, Point
from hftune.train.depth_rates import DepthRate, PhaseRates, read_phase_rates
from hftune.train.plan import make_plan, plan_to_json
from hftune.train.world import join_world
from tests.drawn import drawn_splits, tiny_model, tiny_recipe

HEAD_THEN_ALL = (
    UnfreezeStep(at="0%", train=("head",)),
    UnfreezeStep(at="50%", train=("all",)),
)


def write_plan(run: Path, *, layer_decay: float | None) -> None:
    """Write the plan of 40 steps of test_vit, of which the first half trains the head alone."""
    recipe = tiny_recipe(
        optim=OptimRecipe(lr=1e-3, layer_decay=layer_decay),
        unfreeze=HEAD_THEN_ALL,
        train=TrainRecipe(length="40 steps", batch_size=8),
    )
    model = tiny_model()
    plan = make_plan(recipe, model, drawn_splits(), join_world())
    write_json(run / "plan.json", plan_to_json(plan, model))


def depth(number: int, scale: float) -> DepthRate:
    return DepthRate(depth=number, parameters=1500, trainable=1500 if scale else 0, scale=scale)


def test_rows_by_hand() -> None:
    phases = (
        PhaseRates(start=0, stop=3, depths=(depth(0, 0), depth(1, 0), depth(2, 1))),
        PhaseRates(start=3, stop=6, depths=(depth(0, 0.1), depth(1, 0.1), depth(2, 1))),
    )
    points = tuple(
        Point(step=step, epoch=step, values={"lr": lr}) for step, lr in ((2, 0.5), (4, 1.0), (6, 0))
    )
    chart = depth_chart(phases, History(train=points, evaluations={}))
    assert chart.names == ("2 with the head  (1.5k)", "0 to 1  (3k)")
    assert chart.edges.tolist() == [0, 2, 3, 4, 6]
    nan = float("nan")
    np.testing.assert_allclose(chart.rates, [[0.5, 1, 1, 0], [nan, nan, 0.1, 0]])


def test_a_plan_keeps_every_depth_and_its_share_of_the_rate(tmp_path: Path) -> None:
    write_plan(tmp_path, layer_decay=0.5)
    first, second = read_phase_rates(tmp_path)
    assert (first.start, first.stop, second.stop) == (0, 20, 40)
    assert [rate.depth for rate in second.depths] == list(range(len(second.depths)))
    assert [rate.scale for rate in second.depths[::-1]] == [0.5**n for n in range(8)]
    assert {rate.scale for rate in first.depths[:-1]} == {0.0}
    assert first.depths[-1].scale == 1.0
    assert [rate.trainable for rate in first.depths] == [0] * 7 + [2 * 64 + 2]
    model = tiny_model()
    assert sum(rate.parameters for rate in first.depths) == sum(
        value.numel() for value in model.module.parameters()
    )


def test_the_picture_is_drawn_and_nothing_where_a_plan_says_nothing(
    make_run: Callable[..., Path],
) -> None:
    run = make_run()
    assert plot_depth_rates(read_finished(run)) is None
    write_json(run / "plan.json", {"phases": [{"start": 0, "stop": 40}]})
    assert plot_depth_rates(read_finished(run)) is None
    write_plan(run, layer_decay=None)
    path = plot_depth_rates(read_finished(run))
    assert path == run / "report" / "depth_rates.png"
    drawn = path.with_suffix(".svg").read_text(encoding="utf-8")
    assert "frozen" in drawn
    assert drawn.count("with the head") == 1


@pytest.mark.parametrize(
    "content", [{}, {"phases": [{"start": 0, "stop": "x", "depths": []}]}, {"phases": 3}]
)
def test_a_damaged_plan_is_refused(content: dict[str, object], tmp_path: Path) -> None:
    write_json(tmp_path / "plan.json", content)
    with pytest.raises(RunFolderError):
        read_phase_rates(tmp_path)
