"""Evaluation counts every image exactly once, for sizes that divide and sizes that do not."""

import pytest
import torch

from hftune.data.image_input import eval_transform, normalise
from hftune.recipe.schema import EvalRecipe
from hftune.train.evaluate import evaluate


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
