"""Whatever a recipe file or an override says: a Recipe or one error for people, and no trace."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hftune.recipe import Recipe, load_recipe, resolve_recipe
from hftune.recipe.show import to_yaml
from hftune.train.option_check import check_options_of
from tests.fuzz.outcome import content_of, error_of, type_in
from tests.fuzz.recipes import (
    BASES,
    CONTENTS,
    CRAFTED,
    OVERRIDES,
    WHOLE,
    lay_out,
    with_base,
    written,
)

_FEW = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def settle(path: Path, overrides: list[str] | tuple[str, ...] = ()) -> None:
    """Read, merge, check, and check options; what passes is written and read back."""
    resolved = resolve_recipe(path, overrides)
    assert isinstance(resolved.recipe, Recipe)
    again = path.with_name("again.yaml")
    again.write_text(to_yaml(resolved.recipe), encoding="utf-8")
    assert load_recipe(again) == resolved.recipe
    again.unlink()
    check_options_of(resolved)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("recipes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def check_content(place: Path, content: bytes, overrides: list[str]) -> None:
    path = lay_out(place, content)
    before = content_of(place)
    error_of(lambda: settle(path, overrides))
    (place / "again.yaml").unlink(missing_ok=True)
    assert content_of(place) == before


@_FEW
@given(CONTENTS, OVERRIDES)
def test_any_file_with_any_overrides(place: Path, content: bytes, overrides: list[str]) -> None:
    check_content(place, content, overrides)


@_FEW
@given(OVERRIDES)
def test_any_overrides_of_a_good_recipe(place: Path, overrides: list[str]) -> None:
    check_content(place, json.dumps(WHOLE).encode(), overrides)


@_FEW
@given(BASES | st.lists(BASES, max_size=4))
def test_any_base(place: Path, base: str | list[str]) -> None:
    check_content(place, with_base(base), [])


@pytest.mark.parametrize("text", CRAFTED, ids=lambda text: repr(text[:20]))
def test_crafted_files(place: Path, text: str) -> None:
    check_content(place, written(text), [])
    words = ("recipe", "check", "r.yaml")
    before = content_of(place)
    type_in(*words)
    assert content_of(place) == before


_MANY = settings(_FEW, derandomize=False, print_blob=True)


@pytest.mark.chaos
@settings(_MANY, max_examples=7_000)
@given(CONTENTS, OVERRIDES)
def test_7000_files_with_overrides(place: Path, content: bytes, overrides: list[str]) -> None:
    check_content(place, content, overrides)


@pytest.mark.chaos
@settings(_MANY, max_examples=2_000)
@given(CONTENTS, OVERRIDES)
def test_2000_commands(place: Path, content: bytes, overrides: list[str]) -> None:
    lay_out(place, content)
    before = content_of(place)
    type_in("recipe", "check", "r.yaml", *overrides)
    type_in("recipe", "show", "r.yaml", "--origin", *overrides)
    assert content_of(place) == before


@pytest.mark.chaos
@settings(_MANY, max_examples=1_000)
@given(st.lists(BASES, max_size=4), OVERRIDES)
def test_1000_bases(place: Path, base: list[str], overrides: list[str]) -> None:
    check_content(place, with_base(base), overrides)
