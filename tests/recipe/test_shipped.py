"""The recipes that come with hftune: each resolves, says what it is, and can be copied."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from hftune.errors import RequestError
from hftune.recipe import load_recipe, resolve_recipe
from hftune.recipe.resolve import merge_recipe
from hftune.recipe.shipped import (
    copy_shipped,
    find_shipped,
    list_shipped,
    shipped_folder,
    shipped_path,
)
from hftune.recipe.show import differences

NAMES = [recipe.name for recipe in list_shipped()]
FILES = sorted(shipped_folder().glob("*/*.yaml"))


def test_the_recipes_that_the_documentation_names_are_there() -> None:
    named = {"elpv-lite0", "elpv-lite0-head", "elpv-lite0-scratch", "pets-resnet50", "demo"}
    arms = ("head", "last-stage", "layer-decay", "unfreeze", "scratch")
    assert named | {f"elpv-160-{arm}" for arm in arms} <= {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_resolves(name: str) -> None:
    assert load_recipe(name).model.repo is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_begins_with_its_title_and_its_command(name: str) -> None:
    text = shipped_path(name).read_text(encoding="utf-8")
    assert next(found.title for found in list_shipped() if found.name == name).endswith(".")
    command = re.search(r"^# Command: +hftune (train (\S+).*|demo)$", text, re.MULTILINE)
    assert command is not None
    assert command[2] in (name, None)
    assert "# Result:" in text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_setting_of_a_shipped_file_has_a_comment(path: Path) -> None:
    """A comment stands above each setting that is not a block or a list of its own."""
    lines = path.read_text(encoding="utf-8").splitlines()
    setting = re.compile(r"^\s*(- )?([a-z_]+: \S|\{|[a-z_]+$)")
    bare = [
        line
        for before, line in pairwise(lines)
        if setting.match(line)
        and not line.startswith("base:")
        and not before.strip().startswith("#")
    ]
    assert bare == []


def test_the_scratch_twin_differs_in_its_start_alone() -> None:
    changes = differences(load_recipe("elpv-lite0"), load_recipe("elpv-lite0-scratch"))
    assert [setting for setting, _, _ in changes] == ["run", "model.pretrained"]


def test_bases_are_found_by_name_and_nothing_outside_the_folder_is() -> None:
    assert find_shipped("bases/elpv") == shipped_folder() / "bases" / "elpv.yaml"
    assert find_shipped("../README") is None
    assert find_shipped("bases/../examples/demo") is None
    assert find_shipped("") is None


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_works_where_it_lands(name: str, tmp_path: Path) -> None:
    copies = copy_shipped(merge_recipe(name).files, tmp_path)
    copied = resolve_recipe(copies[-1])
    assert copied.recipe == load_recipe(name)
    assert all(path.is_relative_to(tmp_path.resolve()) for path in copied.merged.files)


def test_a_second_copy_shares_the_bases(tmp_path: Path) -> None:
    copy_shipped(merge_recipe("elpv-lite0").files, tmp_path)
    copies = copy_shipped(merge_recipe("elpv-lite0-head").files, tmp_path)
    assert load_recipe(copies[-1]) == load_recipe("elpv-lite0-head")


def test_a_copy_overwrites_nothing_and_writes_nothing_then(tmp_path: Path) -> None:
    mine = tmp_path / "examples" / "elpv-lite0.yaml"
    mine.parent.mkdir()
    mine.write_text("run: mine\n")
    with pytest.raises(RequestError, match="exist with other content") as caught:
        copy_shipped(merge_recipe("elpv-lite0").files, tmp_path)
    assert caught.value.found == str(mine)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]


def test_an_unknown_name_is_answered_with_a_close_one() -> None:
    with pytest.raises(RequestError, match="did you mean 'elpv-lite0'"):
        shipped_path("elpv-lite")
