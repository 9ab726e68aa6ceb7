"""best.yaml gives the recipe of the best trial, whatever was searched."""

import pytest

from hftune.recipe import load_recipe
from hftune.recipe.show import differences
from hftune.tune.best import write_best_recipe
from hftune.tune.search import open_space


@pytest.mark.parametrize(
    ("words", "drawn"),
    [
        (["optim.lr=log:1e-5..1e-2", "train.seed=4"], {"optim.lr": 0.000314159}),
        (["data.augment[0].min_scale=0.2..0.8"], {"data.augment[0].min_scale": 0.4}),
        (["optim.method=adamw|{name: sgd, momentum: 0.5}"],
         {"optim.method": "{name: sgd, momentum: 0.5}"}),
        (["optim.schedule=constant|cosine"], {"optim.schedule": "constant"}),
        (["optim.schedule=cosine", "optim.schedule.warmup=0..20%"], {"optim.schedule.warmup": 7}),
        (["optim.rates.head=log:1.0..30x", 'optim.rates."stage.-1"=0.5'],
         {"optim.rates.head": 12.345}),
        (["unfreeze=[{at: 0%, train: [head]}]|[{at: 0%, train: [all]}]"],
         {"unfreeze": "[{at: 0%, train: [head]}]"}),
        (["optim.ema=null|0.99", "data.mix={mixup: 0.2}"], {"optim.ema": "0.99"}),
        (["optim.method.betas=[0.9, 0.99]|[0.9, 0.999]", "optim.method=adamw"],
         {"optim.method.betas": "[0.9, 0.99]"}),
    ],
)  # fmt: skip
def test_it_reads_back_as_the_trial(words, drawn, source, tmp_path):
    searchable = open_space(source, words)
    recipe = searchable.resolve(drawn, run="small-tuned").recipe
    path = tmp_path / "runs" / "small-tune" / "best.yaml"
    overrides = searchable.overrides_of(drawn)
    write_best_recipe(path, recipe, source=source, overrides=overrides, title="The best.")
    assert differences(recipe, load_recipe(path)) == []
    assert path.read_text().startswith("# The best.\nbase: ../../small.yaml\nrun: small-tuned\n")


def test_a_recipe_that_comes_with_hftune_is_named(tmp_path):
    searchable = open_space("little-similar", ["optim.lr=log:1e-5..1e-2", "data.source.path=x"])
    drawn = {"optim.lr": 1e-3}
    recipe = searchable.resolve(drawn, run="tuned").recipe
    path = tmp_path / "best.yaml"
    overrides = searchable.overrides_of(drawn)
    write_best_recipe(path, recipe, source="little-similar", overrides=overrides, title="x")
    assert "base: little-similar\n" in path.read_text()
    assert differences(recipe, load_recipe(path)) == []
