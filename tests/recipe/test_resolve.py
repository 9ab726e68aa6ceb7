"""Inheritance: order, once each, what merges and what is replaced, and what set each value."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from hftune.errors import RecipeError
from hftune.recipe import resolve_recipe
from hftune.recipe.origins import origins_of
from hftune.recipe.read import plain
from hftune.recipe.resolve import merge_recipe
from tests.recipe.conftest import SMALL

Write = Callable[[Mapping[str, str]], Path]


def values_of(source: str, *overrides: str) -> Any:
    return plain(merge_recipe(source, overrides).root)


def test_later_bases_win_and_the_file_itself_wins_over_all(write: Write) -> None:
    write(
        {
            "a.yaml": "x: a\ny: a\nz: a\n",
            "b.yaml": "y: b\nz: b\n",
            "c.yaml": "base: [a.yaml, b.yaml]\nz: c\n",
        }
    )
    assert values_of("c.yaml") == {"x": "a", "y": "b", "z": "c"}


def test_a_shared_grandparent_applies_once_and_does_not_undo_a_sibling(write: Write) -> None:
    write(
        {
            "root.yaml": "lr: 1\nepochs: 1\n",
            "left.yaml": "base: root.yaml\nlr: 2\n",
            "right.yaml": "base: root.yaml\nepochs: 3\n",
            "child.yaml": "base: [left.yaml, right.yaml]\n",
        }
    )
    assert values_of("child.yaml") == {"lr": 2, "epochs": 3}


def test_bases_apply_depth_first(write: Write) -> None:
    write(
        {
            "deep.yaml": "x: deep\ny: deep\n",
            "left.yaml": "base: deep.yaml\ny: left\n",
            "right.yaml": "x: right\n",
            "child.yaml": "base: [left.yaml, right.yaml]\n",
        }
    )
    files = [path.name for path in merge_recipe("child.yaml").files]
    assert files == ["deep.yaml", "left.yaml", "right.yaml", "child.yaml"]
    assert values_of("child.yaml") == {"x": "right", "y": "left"}


def test_a_base_path_is_relative_to_the_file_that_names_it(write: Write) -> None:
    write(
        {
            "runs/mine/child.yaml": "base: ../../bases/one.yaml\n",
            "bases/one.yaml": "base: parts/two.yaml\na: 1\n",
            "bases/parts/two.yaml": "b: 2\n",
        }
    )
    assert values_of("runs/mine/child.yaml") == {"a": 1, "b": 2}


def test_one_file_under_two_names_applies_once(write: Write) -> None:
    folder = write({"root.yaml": "x: 1\n", "a.yaml": "base: root.yaml\nx: 2\n"})
    (folder / "other.yaml").symlink_to("root.yaml")
    write({"child.yaml": "base: [a.yaml, other.yaml]\n"})
    assert values_of("child.yaml") == {"x": 2}


def test_a_shipped_recipe_serves_as_base(write: Write) -> None:
    write({"mine.yaml": "base: elpv-lite0\nrun: mine\n"})
    recipe = resolve_recipe("mine.yaml").recipe
    assert recipe.run == "mine"
    assert recipe.model.repo == "timm/tf_efficientnet_lite0.in1k"


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        ("a: {x: 1, y: 2}", "a: {y: 3}", {"a": {"x": 1, "y": 3}}),
        ("a: [1, 2, 3]", "a: [4]", {"a": [4]}),
        ("a: {x: 1}", "a: null", {"a": None}),
        ("a: null", "a: {x: 1}", {"a": {"x": 1}}),
        ("a: {x: 1}", "a: {x: null}", {"a": {"x": None}}),
        ("a: 1", "a: {x: 1}", {"a": {"x": 1}}),
        ("a: {x: 1}", "a: {}", {"a": {"x": 1}}),
    ],
)
def test_merging_two_values(write: Write, old: str, new: str, merged: object) -> None:
    write({"old.yaml": old, "new.yaml": f"base: old.yaml\n{new}\n"})
    assert values_of("new.yaml") == merged


@pytest.mark.parametrize(
    ("old", "new", "loss"),
    [
        ("{name: focal, gamma: 2}", "{name: binary}", {"name": "binary"}),
        ("{name: focal, gamma: 2}", "binary", {"name": "binary"}),
        ("focal", "{name: binary, pos_weight: 2}", {"name": "binary", "pos_weight": 2}),
        ("{name: focal, gamma: 2}", "focal", {"name": "focal", "gamma": 2}),
        ("{name: focal, gamma: 2}", "{alpha: 1}", {"name": "focal", "gamma": 2, "alpha": 1}),
        ("focal", "{gamma: 3}", {"name": "focal", "gamma": 3}),
        ("{gamma: 3}", "focal", {"gamma": 3, "name": "focal"}),
        ("{name: focal, gamma: 2}", "null", None),
    ],
)
def test_a_new_name_drops_the_options_of_the_old(
    write: Write, old: str, new: str, loss: object
) -> None:
    write({"old.yaml": f"loss: {old}", "new.yaml": f"base: old.yaml\nloss: {new}\n"})
    assert values_of("new.yaml") == {"loss": loss}


def test_what_lies_outside_a_named_block_survives_a_new_name(write: Write) -> None:
    old = "optim:\n  lr: 1e-3\n  method: {name: adamw, betas: [0.9, 0.99]}\n"
    write({"old.yaml": old, "new.yaml": "base: old.yaml\noptim: {method: sgd}\n"})
    assert values_of("new.yaml") == {"optim": {"lr": 1e-3, "method": {"name": "sgd"}}}


def test_code_beside_a_base_is_found_from_anywhere(write: Write) -> None:
    folder = write(
        {
            "bases/code.yaml": "loss: ./poly.py:poly1\ndata: {augment: ['./cut.py:cut', flip]}\n",
            "runs/child.yaml": "base: ../bases/code.yaml\n",
        }
    )
    assert values_of("runs/child.yaml", "optim.method=./mine.py:best") == {
        "loss": {"name": f"{folder}/bases/poly.py:poly1"},
        "data": {"augment": [{"name": f"{folder}/bases/cut.py:cut"}, {"name": "flip"}]},
        "optim": {"method": {"name": f"{folder}/mine.py:best"}},
    }


def test_every_value_knows_what_set_it(write: Write) -> None:
    write(
        {
            "base.yaml": "train:\n  length: 3 epochs\n  seed: 1\noptim: {method: adamw}\n",
            "mine.yaml": f"base: base.yaml\n{SMALL}train:\n  seed: 2\n",
        }
    )
    resolved = resolve_recipe("mine.yaml", ["train.batch_size=8", "unfreeze=[{train: [head]}]"])
    expected = {
        "run": "mine.yaml:2",
        "data.source.path": "mine.yaml:5",
        "train.length": "base.yaml:2",
        "train.seed": "mine.yaml:7",
        "train.batch_size": "override",
        "train.precision": "default",
        "optim.method.name": "base.yaml:4",
        "optim.schedule.warmup": "default",
        "unfreeze[0].at": "default",
        "unfreeze[0].train[0]": "override",
        "hub.push_to": "default",
    }
    assert expected.items() <= resolved.origins.items()


def test_a_replaced_block_leaves_no_origin_behind(write: Write) -> None:
    write(
        {
            "old.yaml": "loss: {name: focal, gamma: 2}\n",
            "new.yaml": "base: old.yaml\nloss: binary\n",
        }
    )
    merged = merge_recipe("new.yaml")
    places = origins_of(plain(merged.root), merged.root)
    assert places == {"loss.name": "new.yaml:2"}


def test_problems_of_all_files_are_reported_together(write: Write) -> None:
    write(
        {
            "a.yaml": "x: 1\nx: 2\n",
            "b.yaml": "y: [1\n",
            "child.yaml": "base: [a.yaml, b.yaml, gone.yaml, 7]\n",
        }
    )
    with pytest.raises(RecipeError) as caught:
        merge_recipe("child.yaml")
    assert sorted(problem.place for problem in caught.value.problems) == [
        "a.yaml:2",
        "b.yaml:2",
        "child.yaml:1",
        "child.yaml:1",
    ]


def test_a_path_shown_is_relative_only_below_the_working_directory(write: Write) -> None:
    folder = write({"deep/x.yaml": SMALL, "here/y.yaml": "base: ../deep/x.yaml\nrun: y\n"})
    assert merge_recipe(folder / "deep" / "x.yaml").source == "deep/x.yaml"
    assert merge_recipe("elpv-lite0").source.endswith("/examples/elpv-lite0.yaml")
