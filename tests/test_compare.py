"""Before a comparison trains: arms that are no twins, runs of other recipes, metrics of no use."""

import json
from dataclasses import replace

import pytest

from hftune.compare import (
    Twin,
    check_arms,
    check_data_after,
    choose_metric,
    is_finished,
    plan_twins,
    read_arms,
)
from hftune.errors import ComponentError, DataError, RecipeError, RequestError, RunFolderError
from hftune.files import write_json, write_text
from hftune.recipe import resolve_recipe
from hftune.recipe.show import to_yaml
from tests.drawn import tiny_recipe
from tests.finished import write_finished_run

TEXT = """\
run: {name}
model: {{architecture: test_vit, pretrained: false, image_size: 32}}
data: {{source: {{name: image_folder, path: ./images}}}}
"""


@pytest.fixture
def resolve(tmp_path):
    """Give a maker of resolved recipes: `resolve("first", "optim.lr=1e-3")`."""

    def make(name, *overrides):
        path = tmp_path / f"{name}.yaml"
        path.write_text(TEXT.format(name=name))
        return resolve_recipe(path, overrides)

    return make


@pytest.fixture
def twin(tmp_path):
    """Give a maker of a twin whose folder holds a finished run of its own recipe."""

    def make(folder="tiny-seed0", *, steps=9, **changes):
        recipe = tiny_recipe(**changes)
        run = write_finished_run(tmp_path / folder, labels=("dark", "bright"))
        write_text(run / "recipe.yaml", to_yaml(recipe))
        write_json(run / "plan.json", {"total_steps": 9})
        results = json.loads((run / "results.json").read_text()) | {"steps": steps}
        write_json(run / "results.json", results)
        return Twin(recipe=recipe, origins={}, folder=run)

    return make


def test_twins_differ_in_what_they_are_about(resolve):
    check_arms(
        [resolve("first"), resolve("second", "optim.lr=1e-4", "freeze.stages=1")],
        allow_other_budget=False,
    )


@pytest.mark.parametrize("names", [(), ("one",), ("one", "one")])
def test_arms_have_names_of_their_own(resolve, names):
    with pytest.raises(RequestError, match="names of their own"):
        check_arms([resolve(name) for name in names], allow_other_budget=False)


def test_other_data_are_refused_whatever_the_budget(resolve):
    arms = [resolve("first"), resolve("second", "data.val=20%", "train.length=9 epochs")]
    for allow in (False, True):
        with pytest.raises(RequestError, match="no fair twins") as error:
            check_arms(arms, allow_other_budget=allow)
        assert "data.val: 10% in first, 20% in second" in str(error.value)
        assert ("train.length" in str(error.value)) is not allow


def test_another_budget_is_refused_until_it_is_allowed(resolve, caplog):
    arms = [resolve("first"), resolve("second", "train.batch_size=64")]
    with pytest.raises(RequestError, match="no fair twins") as error:
        check_arms(arms, allow_other_budget=False)
    assert "train.batch_size: 32 in first, 64 in second" in str(error.value)
    assert "--allow-other-budget" in str(error.value)
    check_arms(arms, allow_other_budget=True)
    assert "another budget: train.batch_size: 32 in first, 64 in second" in caplog.text


def test_the_options_of_all_arms_are_reported_together(resolve):
    arms = [
        resolve("first", "optim.method=adamm"),
        resolve("second", "eval.best=acuracy"),
        resolve("third"),
    ]
    with pytest.raises(RecipeError) as error:
        check_arms(arms, allow_other_budget=False)
    assert [problem.setting for problem in error.value.problems] == [
        *("optim.method.name", "eval.best"),
    ]
    assert "first.yaml" in str(error.value)
    assert "second.yaml" in str(error.value)


def test_the_metric_is_what_picks_the_weights_or_the_problems_own():
    recipe = tiny_recipe()
    assert choose_metric(recipe, None) == "accuracy"
    picked = replace(recipe, eval=replace(recipe.eval, best="auroc"))
    assert choose_metric(picked, None) == "auroc"
    by_loss = replace(recipe, eval=replace(recipe.eval, best="loss"), problem="multi_label")
    assert choose_metric(by_loss, None) == "mean_average_precision"
    assert choose_metric(recipe, "macro_f1") == "macro_f1"


@pytest.mark.parametrize("name", ["loss", "mae", "nonsense"])
def test_a_metric_of_another_problem_is_refused(name):
    with pytest.raises(ComponentError, match="no metric to compare by") as error:
        choose_metric(tiny_recipe(), name)
    assert "balanced_accuracy" in str(error.value)


def test_runs_are_planned_seed_by_seed_and_published_nowhere(resolve, tmp_path):
    arms = [resolve("first", "train.seed=5", "hub.push_to=org/name"), resolve("second")]
    twins = plan_twins(arms, tmp_path, seeds=2)
    assert [twin.folder.name for twin in twins] == [
        *("first-seed0", "second-seed0", "first-seed1", "second-seed1"),
    ]
    assert [twin.recipe.train.seed for twin in twins] == [5, 0, 6, 1]
    assert {twin.recipe.hub.push_to for twin in twins} == {None}


def test_a_finished_run_is_not_trained_again(twin, tmp_path):
    assert is_finished(twin())
    assert not is_finished(twin("stopped-seed0", steps=4))
    new = Twin(recipe=tiny_recipe(), origins={}, folder=tmp_path / "new")
    assert not is_finished(new)


def test_a_run_without_results_goes_on(twin):
    begun = twin()
    (begun.folder / "results.json").unlink()
    assert not is_finished(begun)


def test_a_run_of_another_recipe_or_length_is_refused(twin):
    made = twin()
    recipe = made.recipe
    faster = replace(recipe, optim=replace(recipe.optim, lr=0.5))
    with pytest.raises(RunFolderError, match="another recipe"):
        is_finished(replace(made, recipe=faster))
    # A run may go on with another length; as an arm it would be another budget.
    longer = replace(recipe, train=replace(recipe.train, length="9 epochs"))
    with pytest.raises(RunFolderError, match="another length"):
        is_finished(replace(made, recipe=longer))


def test_arms_that_saw_other_images_are_refused(twin):
    one, other = twin("one-seed0"), twin("other-seed0")
    check_data_after([one, other])
    data = json.loads((other.folder / "data.json").read_text())
    data["splits"]["test"]["digest"] = "changed"
    write_json(other.folder / "data.json", data)
    with pytest.raises(DataError, match="do not see the same images") as error:
        check_data_after([one, other])
    assert "test in other-seed0 and one-seed0" in str(error.value)


def test_answers_about_other_images_are_refused(twin, tmp_path):
    import torch

    from hftune.train.evaluate import Outputs
    from hftune.train.predictions import predictions_from, write_predictions
    from tests.drawn import drawn_splits

    one = twin("one-seed0")
    other = replace(twin("other-seed0"), recipe=tiny_recipe(run="other"))
    split = drawn_splits().test
    outputs = Outputs(logits=torch.zeros(7, 2), targets=torch.as_tensor(split.rows.targets))
    for made, digest in ((one, "a"), (other, "b")):
        write_predictions(made.folder, predictions_from(replace(split, digest=digest), outputs))
    assert list(read_arms([one])) == ["tiny"]
    with pytest.raises(DataError, match="do not see the same images"):
        read_arms([one, other])
