"""From values to a Recipe: what is converted, and every problem at once, word for word."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from hftune.errors import RecipeError
from hftune.recipe import load_recipe
from hftune.recipe.schema import Component, Recipe
from tests.recipe.conftest import ERRORS, SMALL, expected_error

Write = Callable[[Mapping[str, str]], Path]

# name of the expected text -> (files, recipe, overrides)
WRONG: dict[str, tuple[dict[str, str], str, list[str]]] = {
    "missing_file": ({}, "gone.yaml", []),
    "unknown_recipe": ({}, "elpv-lite", []),
    "missing_base": ({"deep/x.yaml": "base: [here.yaml, nobody]\n"}, "deep/x.yaml", []),
    "bases_in_a_loop": (
        {
            "a.yaml": "base: parts/b.yaml\n",
            "parts/b.yaml": "run: x\nbase: [../c.yaml]\n",
            "c.yaml": "base: a.yaml\n",
        },
        "a.yaml",
        [],
    ),
    "own_base": ({"a.yaml": "base: ./a.yaml\n"}, "a.yaml", []),
    "not_a_mapping": ({"a.yaml": "- run: x\n"}, "a.yaml", []),
    "syntax": ({"a.yaml": SMALL + "optim: {lr: 1\ntrain: {seed: 0}\n"}, "a.yaml", []),
    "key_twice": ({"a.yaml": SMALL + "run: again\n"}, "a.yaml", []),
    "empty": ({"a.yaml": "# nothing\n"}, "a.yaml", []),
    "unknown_keys": (
        {
            "bases/b.yaml": "optim:\n  layr_decay: 0.75\nlr: 1e-3\n",
            "a.yaml": "base: bases/b.yaml\n"
            + SMALL
            + "wings: 2\nunfreeze:\n  - {at: 0%, train: [all], untill: 3%}\nsave: {base: x.yaml}\n",
        },
        "a.yaml",
        ["train.batchsize=64"],
    ),
    "wrong_types": (
        {
            "a.yaml": "run: [x]\n"
            "model:\n  repo: 7\n  image_size: [224]\n  crop_fraction: large\n  pretrained: maybe\n"
            "data:\n  source: 3\n  augment: flip\n  stratify: wing\n  workers: true\n"
            "problem: singel_label\n"
            "loss: [focal]\n"
            "optim:\n  lr: true\n  rates: {head: fast, stem: -1}\n  method: {betas: [0.9, 0.99]}\n"
            "train:\n  length: 10\n  batch_size: 1.5\n  precision: fp8\n"
            "freeze:\n"
        },
        "a.yaml",
        [],
    ),
    "out_of_range": (
        {
            "a.yaml": SMALL.replace("small", "../small")
            + "optim: {lr: 0, weight_decay: -0.1, layer_decay: 1.5, ema: 1}\n"
            "train: {length: 20%, batch_size: 0, seed: '-1'}\n"
            "eval: {every: 0 epochs}\n"
            "save: {every: 0 s, keep: 0}\n"
            "unfreeze:\n  - {at: 120%, train: [head]}\n  - {at: 3 weeks, train: []}\n"
        },
        "a.yaml",
        ["model.drop_rate=1", "data.val=5 steps"],
    ),
    "rules": (
        {
            "a.yaml": "run: x\n"
            "model: {revision: v1, strip_prefix: backbone., head_rows: new, base_names: {a: b}}\n"
            "data: {source: image_folder}\n"
            "unfreeze:\n"
            "  - {at: 10%, train: [head]}\n"
            "  - {at: 10%, train: [head, stage.-1]}\n"
            "  - {at: 2 epochs, train: [all]}\n"
        },
        "a.yaml",
        [],
    ),
    "no_unfreeze": ({"a.yaml": SMALL + "unfreeze: []\n"}, "a.yaml", []),
    "wrong_selectors": (
        {
            "a.yaml": SMALL + "freeze: {layers: [sateg.1, 'stages[5:2]']}\n"
            "optim: {rates: {haed: 1e-4, 'not norms': 0}}\n"
            "unfreeze:\n  - {at: 0%, train: [head, layer4.0.conv1]}\n"
        },
        "a.yaml",
        [],
    ),
    "frozen_and_wanted": (
        {
            "a.yaml": SMALL + "freeze: {stages: 2, layers: [norm, layer.5]}\n"
            "optim: {rates: {norm: 1e-4, stage.1: 2x, stage.2: 1e-4, stage.3: 0, layer.4: 0x}}\n"
            "unfreeze:\n"
            "  - {at: 0%, train: [head, norm]}\n"
            "  - {at: 5%, train: [head, stage.0, stage.2, stage.3]}\n"
            "  - {at: 9%, train: [all, not layer.5]}\n"
        },
        "a.yaml",
        [],
    ),
    "everything_frozen": (
        {"a.yaml": SMALL + "freeze: {layers: [head, norm, backbone]}\n"},
        "a.yaml",
        [],
    ),
    "zero_rate_for_all": ({"a.yaml": SMALL + "optim: {rates: {head: 3x, all: 0}}\n"}, "a.yaml", []),
    "l2_sp": (
        {"a.yaml": SMALL + "optim: {l2_sp: {strength: 0.1}}\n"},
        "a.yaml",
        ["model.pretrained=false"],
    ),
    "nothing_to_adapt": (
        {"a.yaml": SMALL + "optim: {weight_decay: 0, method: nlarc}\n"},
        "a.yaml",
        [],
    ),
    "two_revisions": (
        {"a.yaml": SMALL},
        "a.yaml",
        ["model.repo=org/name@v1", "model.revision=v2"],
    ),
    "wrong_override": ({"a.yaml": SMALL}, "a.yaml", ["optim.lr 3", "unfreeze[0].at=1%"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_error_reads_word_for_word(write: Write, name: str) -> None:
    files, source, overrides = WRONG[name]
    write(files)
    with pytest.raises(RecipeError) as caught:
        load_recipe(source, overrides)
    assert str(caught.value) + "\n" == expected_error(name)


def test_code_in_an_untrusted_recipe_is_refused(write: Write) -> None:
    write({"a.yaml": SMALL + "loss: ./l.py:poly\noptim: {method: 'mine:sgd'}\n"})
    assert load_recipe("a.yaml").optim.method == Component(name="mine:sgd")
    with pytest.raises(RecipeError) as caught:
        load_recipe("a.yaml", ["loss=mine:poly"], trust_code=False)
    assert str(caught.value) + "\n" == expected_error("untrusted_code")


def test_no_expected_text_is_without_its_case() -> None:
    kept = {path.stem for path in ERRORS.glob("*.txt")}
    assert kept == {*WRONG, "untrusted_code", "wrong_components"}


def test_numbers_and_truth_given_as_text_are_read(write: Write) -> None:
    write({"a.yaml": SMALL})
    recipe = load_recipe(
        "a.yaml",
        ["optim.lr='3e-4'", "train.batch_size='8'", "hub.private=no", "optim.rates={head: '2'}"],
    )
    assert recipe.optim.lr == 3e-4
    assert recipe.train.batch_size == 8
    assert recipe.hub.private is False
    assert recipe.optim.rates == {"head": 2.0}


def test_whole_numbers_serve_as_numbers_and_lists_as_tuples(write: Write) -> None:
    write({"a.yaml": SMALL})
    recipe = load_recipe(
        "a.yaml", ["optim.lr=1", "model.image_size=[160, 224]", "eval.metrics=[accuracy]"]
    )
    assert recipe.optim.lr == 1.0
    assert type(recipe.optim.lr) is float
    assert recipe.model.image_size == (160, 224)
    assert recipe.eval.metrics == ("accuracy",)


def test_components_are_a_name_or_a_block(write: Write) -> None:
    write({"a.yaml": SMALL})
    recipe = load_recipe("a.yaml", ["loss={name: focal, gamma: 3}", "data.augment=[flip]"])
    assert recipe.loss == Component(name="focal", options={"gamma": 3})
    assert recipe.data.augment == (Component(name="flip"),)
    assert recipe.data.source == Component(name="image_folder", options={"path": "./images"})


def test_what_is_not_given_has_the_defaults_of_the_schema(write: Write) -> None:
    write({"a.yaml": SMALL})
    recipe = load_recipe("a.yaml")
    assert recipe == Recipe(run="small", model=recipe.model, data=recipe.data)


@pytest.mark.parametrize("name", ["a", "A-1_b.c", "2024"])
def test_a_run_name_is_one_folder(write: Write, name: str) -> None:
    write({"a.yaml": SMALL})
    assert load_recipe("a.yaml", [f"run='{name}'"]).run == name


@pytest.mark.parametrize("name", [".hidden", "a/b", "..", "a b", "-x", ""])
def test_a_run_name_that_is_no_folder_is_refused(write: Write, name: str) -> None:
    write({"a.yaml": SMALL})
    with pytest.raises(RecipeError):
        load_recipe("a.yaml", [f"run='{name}'"])
