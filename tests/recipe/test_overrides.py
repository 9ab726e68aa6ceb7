"""Overrides: how a text becomes a change, and which texts are refused."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from hftune.errors import RecipeError
from hftune.recipe.overrides import parse_override
from hftune.recipe.read import plain
from hftune.recipe.resolve import merge_recipe

Write = Callable[[Mapping[str, str]], Path]

RECIPE = """\
optim:
  lr: 1e-3
  schedule: {name: cosine, warmup: 5%}
data:
  augment:
    - {name: random_resized_crop, min_scale: 0.6}
    - horizontal_flip
"""


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("optim.lr=3e-4", ("optim", "lr"), 3e-4),
        ("run = mine", ("run",), "mine"),
        ("model.repo=timm/resnet50.a1_in1k", ("model", "repo"), "timm/resnet50.a1_in1k"),
        ("model.weights=a=b.pth", ("model", "weights"), "a=b.pth"),
        ("loss=null", ("loss",), None),
        ("hub.private=false", ("hub", "private"), False),
        ('optim.rates."stage.-1"=3x', ("optim", "rates", "stage.-1"), "3x"),
        ('optim.rates."a=b"=3x', ("optim", "rates", "a=b"), "3x"),
        ("unfreeze[1].train[0]=head", ("unfreeze", 1, "train", 0), "head"),
        ("eval.metrics=[accuracy, macro_f1]", ("eval", "metrics"), ["accuracy", "macro_f1"]),
    ],
)
def test_an_override_is_a_path_and_a_yaml_value(
    text: str, path: tuple[str | int, ...], value: object
) -> None:
    found, node = parse_override(text)
    assert (found, plain(node), node.place) == (path, value, "override")


@pytest.mark.parametrize(
    ("overrides", "path", "value"),
    [
        (["optim.lr=2", "optim.lr=3"], ("optim", "lr"), 3),
        (["optim.schedule=constant"], ("optim", "schedule"), {"name": "constant"}),
        (
            ["optim.schedule.warmup=1 epoch"],
            ("optim", "schedule"),
            {"name": "cosine", "warmup": "1 epoch"},
        ),
        (
            ["optim.schedule.name=step", "optim.schedule.every=2 epochs"],
            ("optim", "schedule"),
            {"name": "step", "every": "2 epochs"},
        ),
        (
            ["data.augment[0].min_scale=0.9"],
            ("data", "augment"),
            [{"name": "random_resized_crop", "min_scale": 0.9}, {"name": "horizontal_flip"}],
        ),
        (
            ["data.augment[1].p=1", "data.augment[0]=vertical_flip"],
            ("data", "augment"),
            [{"name": "vertical_flip"}, {"name": "horizontal_flip", "p": 1}],
        ),
        (["data.augment=[]"], ("data", "augment"), []),
        (["train.seed=4"], ("train", "seed"), 4),
    ],
)
def test_overrides_merge_as_a_last_layer(
    write: Write, overrides: list[str], path: tuple[str, ...], value: object
) -> None:
    write({"x.yaml": RECIPE})
    found: Any = plain(merge_recipe("x.yaml", overrides).root)
    for part in path:
        found = found[part]
    assert found == value


@pytest.mark.parametrize(
    ("text", "setting", "sentence"),
    [
        ("lr", "lr", "this override cannot be read; write it as key.path=value"),
        ("=3", "=3", "this override cannot be read"),
        ("a..b=3", "a..b=3", "this override cannot be read"),
        ("[0]=3", "[0]=3", "this override cannot be read"),
        ("optim.lr=", "optim.lr", "no value; for nothing at all write optim.lr=null"),
        ("optim.lr=[1", "optim.lr", "YAML cannot be read"),
        ("optim.lr=.inf", "optim.lr", "give a finite number"),
        ("base=other.yaml", "base", "an override cannot change what is inherited"),
        ("optim[0]=3", "optim[0]", "'optim' is not a list in this recipe"),
        ("eval.metrics[0]=x", "eval.metrics[0]", "'eval.metrics' is not a list in this recipe"),
        ("data.augment[2].p=1", "data.augment[2].p", "there is no [2]; the list has 2"),
    ],
)
def test_a_wrong_override_says_why(write: Write, text: str, setting: str, sentence: str) -> None:
    write({"x.yaml": RECIPE})
    with pytest.raises(RecipeError) as caught:
        merge_recipe("x.yaml", [text])
    (problem,) = caught.value.problems
    assert (problem.setting, problem.place) == (setting, "override")
    assert sentence in problem.text


def test_all_wrong_overrides_are_reported_together(write: Write) -> None:
    write({"x.yaml": RECIPE})
    with pytest.raises(RecipeError) as caught:
        merge_recipe("x.yaml", ["lr", "optim.lr=4", "base=y"])
    assert [problem.setting for problem in caught.value.problems] == ["lr", "base"]
