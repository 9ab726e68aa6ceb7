"""Evaluation counts every image exactly once, for sizes that divide and sizes that do not."""

import pytest
import torch

from hftune.data.image_input import eval_transform, normalise
from hftune.errors import DataError
from hftune.recipe.schema import Component, DataRecipe, EvalRecipe, TrainRecipe
from hftune.train.evaluate import ask, evaluate
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.world import join_world
from tests.drawn import damage


@pytest.mark.parametrize(("size", "batch_size"), [(11, 4), (12, 4), (3, 8), (1, 1)])
def test_metrics_equal_a_plain_pass(size, batch_size, make_recipe, make_tiny_model, make_splits):
    split = make_splits(val=size).val
    model = make_tiny_model()
    recipe = make_recipe(eval=EvalRecipe(best="accuracy", batch_size=batch_size))
    result = evaluate(model, split, recipe)
    transform = eval_transform(model.input_spec)
    with torch.inference_mode():
        pixels = torch.stack([transform(split.rows.image(row)) for row in range(size)])
        inputs = normalise(pixels, model.input_spec)
        logits = model.module.cpu().eval()(inputs)
    right = (logits.argmax(1) == torch.as_tensor(split.rows.targets)).sum()
    assert result.num_examples == size
    assert sum(map(sum, result.confusion)) == size
    assert result.values["accuracy"] == pytest.approx(right / size)
    loss = torch.nn.functional.cross_entropy(logits, torch.as_tensor(split.rows.targets))
    assert result.loss == pytest.approx(loss.item(), rel=1e-5)


@pytest.fixture
def make_data():
    source = Component(name="image_folder", options={"path": "x"})
    return lambda policy, workers=0: DataRecipe(source=source, workers=workers, on_bad_image=policy)


@pytest.mark.parametrize(("policy", "workers"), [("skip", 0), ("skip", 2), ("quarantine", 0)])
def test_a_bad_image_is_left_out_of_loss_and_metrics_and_counted(
    policy, workers, make_recipe, make_tiny_model, make_splits, make_data
):
    split, bad = make_splits(val=11).val, {0, 5, 6, 7, 10}
    model = make_tiny_model()
    recipe = make_recipe(
        data=make_data(policy, workers), eval=EvalRecipe(best="accuracy", batch_size=3)
    )
    whole = ask(model, split, recipe)
    outputs = ask(model, damage(split, bad), recipe)
    rows = [row for row in range(11) if row not in bad]
    assert [one.row for one in outputs.bad] == sorted(bad)
    assert torch.allclose(outputs.logits, whole.logits[rows], atol=1e-6)
    assert torch.equal(outputs.targets, whole.targets[rows])
    result = evaluate(model, damage(split, bad), recipe)
    assert (result.num_examples, result.num_bad) == (6, 5)
    assert sum(map(sum, result.confusion)) == 6
    loss = torch.nn.functional.cross_entropy(whole.logits[rows], whole.targets[rows])
    assert result.loss == pytest.approx(loss.item(), rel=1e-5)


def test_a_bad_image_ends_an_evaluation_that_it_is_to_stop(
    make_recipe, make_tiny_model, make_splits, make_data
):
    split = damage(make_splits(val=11).val, {2, 9})
    with pytest.raises(DataError) as caught:
        evaluate(make_tiny_model(), split, make_recipe(data=make_data("stop")))
    assert caught.value.problem == "2 of the 11 images of 'val' cannot be read"
    assert caught.value.found == "drawn/1/2: cut short\ndrawn/1/9: cut short"


def test_no_image_left_to_judge_is_an_error(make_recipe, make_tiny_model, make_splits, make_data):
    split = damage(make_splits(val=3).val, range(3))
    with pytest.raises(DataError, match="none of the 3 images of 'val'"):
        evaluate(make_tiny_model(), split, make_recipe(data=make_data("skip")))


def test_folded_batch_norm_changes_logits_by_rounding_and_always_alike(
    make_recipe, make_tiny_model, make_splits
):
    split = make_splits(val=11).val
    model = make_tiny_model("test_resnet")
    given = model.module.train()(torch.randn(8, 3, 32, 32))  # statistics of their own
    assert given.isfinite().all()
    recipe = make_recipe(eval=EvalRecipe(best="accuracy", batch_size=4))
    outputs = ask(model, split, recipe)
    assert torch.equal(ask(model, split, recipe).logits, outputs.logits)
    pixels = torch.stack([eval_transform(model.input_spec)(split.rows.image(r)) for r in range(11)])
    with torch.inference_mode():
        plain = model.module(normalise(pixels, model.input_spec))
    assert not torch.equal(outputs.logits, plain)  # or nothing was folded
    assert (outputs.logits - plain).abs().max() < 1e-5 * plain.abs().max()


def test_training_does_not_feel_an_evaluation(make_recipe, make_splits, make_tiny_model, tmp_path):
    """Evaluated after every step or only at the end: the last weights are equal, bit for bit."""
    trained = {}
    for every in ("1 step", "4 steps"):
        recipe = make_recipe(
            train=TrainRecipe(length="4 steps", batch_size=8, precision="fp32"),
            eval=EvalRecipe(every=every, best="accuracy"),
        )
        model, splits = make_tiny_model("test_resnet"), make_splits()
        run = tmp_path / every
        run.mkdir()
        train(make_plan(recipe, model, splits, join_world()), model, splits, run)
        trained[every] = model.module.state_dict()
    often, once = trained.values()
    assert often.keys() == once.keys()
    assert all(torch.equal(often[name], once[name]) for name in once)
