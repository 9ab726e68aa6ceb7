"""A recipe written out: YAML that reads back, a digest that stays, differences that matter."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hftune.recipe import load_recipe
from hftune.recipe.schema import Component, Recipe
from hftune.recipe.show import changed_settings, differences, digest, to_dict, to_yaml
from tests.recipe.conftest import SMALL

Write = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def small(write: Write) -> Recipe:
    write({"a.yaml": SMALL})
    return load_recipe("a.yaml")


def test_a_written_recipe_reads_back_as_itself(write: Write) -> None:
    write({"a.yaml": SMALL})
    recipe = load_recipe(
        "a.yaml",
        [
            "optim.lr=3e-5",
            "optim.rates={head: 3x, 'name:a.b': 0.1}",
            "model.image_size=[96, 128]",
            "model.revision='0123456'",
            "model.options={act: 'no', size: 1e6, deep: {on: [1, '2', null]}}",
            "hub.license='2026-09-01'",
            "data.augment=[flip, {name: crop, padding: 0.125}]",
            "loss={name: focal, gamma: 2, note: '1_000'}",
        ],
    )
    write({"b.yaml": to_yaml(recipe)})
    again = load_recipe("b.yaml")
    assert again == recipe
    assert digest(again) == digest(recipe)
    assert to_yaml(again) == to_yaml(recipe)


def test_the_digest_does_not_depend_on_the_order_of_keys(write: Write) -> None:
    lines = SMALL.splitlines(keepends=True)
    write({"a.yaml": SMALL, "b.yaml": "".join([*lines[2:], *lines[:2]])})
    assert digest(load_recipe("a.yaml")) == digest(load_recipe("b.yaml"))


@pytest.mark.parametrize("override", ["run=b", "optim.lr=2e-3", "save.keep=3", "loss=focal"])
def test_the_digest_changes_with_any_setting(small: Recipe, override: str) -> None:
    assert digest(load_recipe("a.yaml", [override])) != digest(small)


def test_components_are_shown_as_name_and_options(small: Recipe) -> None:
    loss = Component(name="focal", options={"gamma": 2, "shape": (1, 2)})
    assert to_dict(replace(small, loss=loss))["loss"] == {
        "name": "focal",
        "gamma": 2,
        "shape": [1, 2],
    }


def test_differences_name_each_setting_with_both_values(small: Recipe) -> None:
    new = load_recipe(
        "a.yaml",
        [
            "optim.lr=2",
            "optim.schedule=constant",
            "unfreeze=[{train: [head]}, {at: 3%, train: [all]}]",
        ],
    )
    assert differences(small, new) == [
        ("optim.lr", 0.001, 2.0),
        ("optim.schedule.name", "cosine", "constant"),
        ("optim.schedule.warmup", "5%", None),
        ("unfreeze[0].train[0]", "all", "head"),
        ("unfreeze[1].at", None, "3%"),
        ("unfreeze[1].train[0]", None, "all"),
        ("unfreeze[1].lr_factor", None, 1.0),
        ("unfreeze[1].warmup", None, "0%"),
    ]
    assert differences(small, small) == []


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (None, {"name": "focal"}, [("loss.name", None, "focal")]),
        ({"name": "f", "a": None}, {"name": "f"}, [("loss.a", None, None)]),
        ({"name": "f", "a": {}}, {"name": "f", "a": {"b": 1}}, [("loss.a.b", None, 1)]),
        ({"name": "f", "a": [1]}, {"name": "f", "a": []}, [("loss.a[0]", 1, None)]),
        ({"name": "f", "a": 1}, {"name": "f", "a": True}, [("loss.a", 1, True)]),
        ({"name": "f", "a": 1}, {"name": "f", "a": 1.0}, [("loss.a", 1, 1.0)]),
    ],
)
def test_a_difference_is_reported_once_wherever_the_digest_changes(
    small: Recipe, old: object, new: object, found: list[object]
) -> None:
    write_loss = f"loss={json.dumps(old)}", f"loss={json.dumps(new)}"
    one, two = (load_recipe("a.yaml", [text]) for text in write_loss)
    assert digest(one) != digest(two)
    assert differences(one, two) == found


@pytest.mark.parametrize(
    "override",
    [
        "save.every=1 min",
        "save.keep=9",
        "track.every=1 step",
        "track.trackers=[tensorboard]",
        "train.length=99 epochs",
        "hub.push_to=org/name",
        "data.workers=3",
    ],
)
def test_a_run_may_go_on_with_other_saving_tracking_and_length(
    small: Recipe, override: str
) -> None:
    new = load_recipe("a.yaml", [override])
    assert differences(small, new) != []
    assert changed_settings(small, new) == []


def test_a_run_may_not_go_on_with_what_decides_its_result(small: Recipe) -> None:
    new = load_recipe(
        "a.yaml", ["train.length=3 epochs", "train.batch_size=8", "problem=multi_label"]
    )
    assert changed_settings(small, new) == [
        ("problem", "single_label", "multi_label"),
        ("train.batch_size", 32, 8),
    ]
