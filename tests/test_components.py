"""Components: found by name or as code, options checked against the function's signature."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Interval, Le, Predicate, doc

from hftune.components import bind, check_options, find, judge_options
from hftune.errors import ComponentError
from hftune.recipe.schema import Component


def is_even(value: int) -> bool:
    return value % 2 == 0


def focal(
    logits: object,
    *,
    gamma: Annotated[float, Ge(0)] = 2.0,
    betas: tuple[float, float] = (0.9, 0.999),
    mode: Literal["sum", "mean"] = "mean",
    weights: tuple[float, ...] | None = None,
    steps: Annotated[int, Interval(ge=1, le=9)] = 1,
    pairs: Annotated[int, Predicate(is_even), doc("an even number")] = 2,
    soft: bool = False,
) -> object:
    return logits, gamma, betas, mode, weights, steps, pairs, soft


def needy(*, path: str, size: Annotated[int, Gt(0)], free=None) -> object:
    return path, size, free


TABLE: dict[str, Callable[..., object]] = {"focal": focal, "needy": needy}


def problems(function: Callable[..., object], **options: object) -> dict[Any, str]:
    return dict(judge_options(function, options, subject="'f'").problems)


def test_a_bound_component_keeps_its_defaults_and_takes_its_options() -> None:
    component = Component(name="focal", options={"gamma": 3, "mode": "sum"})
    bound = bind(component, TABLE, family="loss")
    assert bound("x") == ("x", 3.0, (0.9, 0.999), "sum", None, 1, 2, False)


def test_options_are_converted_to_their_annotations() -> None:
    options = {"gamma": "1e-1", "betas": [0, 1], "weights": [1, "2"], "soft": "no"}
    checked = check_options(focal, options, where="loss 'focal'")
    assert checked == {"gamma": 0.1, "betas": (0.0, 1.0), "weights": (1.0, 2.0), "soft": False}


@pytest.mark.parametrize(
    ("options", "key", "text"),
    [
        ({"gamma": -1}, ("gamma",), "-1 is too small; 'gamma' of 'f' must be at least 0"),
        ({"gamma": True}, ("gamma",), "true is not possible; give a number that is at least 0"),
        ({"gamma": None}, ("gamma",), "this is empty; give a number that is at least 0, or"),
        ({"gama": 1}, ("gama",), "'f' has no such option; did you mean 'gamma'?"),
        ({"zzz": 1}, ("zzz",), "'f' has no such option; possible: 'gamma', 'betas', 'mode'"),
        ({"logits": 1}, ("logits",), "'f' has no such option"),
        ({"betas": [0.9]}, ("betas",), "[0.9] is not possible; give a list of 2 (each a number)"),
        ({"betas": [1, "x"]}, ("betas", 1), "'x' is not possible; give a number"),
        ({"mode": "men"}, ("mode",), "'men' is not possible; give one of 'sum', 'mean'; did you"),
        ({"weights": 1}, ("weights",), "1 is not possible; give a list (each entry a number), or"),
        ({"steps": 10}, ("steps",), "10 is too large; 'steps' of 'f' must be at most 9"),
        ({"pairs": 3}, ("pairs",), "3 is not possible; give an even number"),
        ({"soft": "perhaps"}, ("soft",), "'perhaps' is not possible; give true or false"),
    ],
)
def test_a_wrong_option_says_what_is_allowed(
    options: dict[str, object], key: tuple[str | int, ...], text: str
) -> None:
    found = problems(focal, **options)
    assert [*found] == [key]
    assert found[key].startswith(text)


def test_missing_options_are_named() -> None:
    assert problems(needy) == {
        ("path",): "missing; 'f' needs text",
        ("size",): "missing; 'f' needs a whole number that is above 0",
    }


def test_an_option_without_annotation_takes_any_value() -> None:
    assert check_options(needy, {"path": "x", "size": 1, "free": {"a": [1]}}, where="x") == {
        "path": "x",
        "size": 1,
        "free": {"a": [1]},
    }


def test_every_wrong_option_is_in_the_one_error() -> None:
    component = Component(name="needy", options={"size": 0, "pat": "x"})
    with pytest.raises(ComponentError) as caught:
        bind(component, TABLE, family="data source")
    assert str(caught.value) == (
        "3 options of the data source 'needy' cannot be used\n"
        "  found:    size: 0 is too small; 'size' of the data source 'needy' must be above 0\n"
        "            pat: the data source 'needy' has no such option; did you mean 'path'?\n"
        "            path: missing; the data source 'needy' needs text\n"
        "  do:       correct them in the recipe"
    )


def test_what_the_caller_fills_in_is_no_option() -> None:
    filled = {"size": 4, "other": 5}
    bound = bind(Component(name="needy", options={"path": "x"}), TABLE, family="x", filled=filled)
    assert bound() == ("x", 4, None)
    with pytest.raises(ComponentError, match="1 option of the x 'needy' cannot be used"):
        bind(
            Component(name="needy", options={"path": "x", "size": 1}),
            TABLE,
            family="x",
            filled=filled,
        )


def test_a_partial_function_serves_as_component() -> None:
    assert check_options(partial(focal, gamma=1.0), {"betas": [0, 0]}, where="x") == {
        "betas": (0.0, 0.0)
    }


def test_a_function_that_takes_any_keyword_is_given_it() -> None:
    def free(*, a: int = 1, **rest: object) -> object:
        return a, rest

    assert check_options(free, {"a": "2", "b": "3"}, where="x") == {"a": 2, "b": "3"}


def test_annotations_of_what_is_no_option_are_never_read(tmp_path: Path) -> None:
    path = tmp_path / "typed.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from nowhere import Tensor\n"
        "def fine(logits: Tensor, *, gamma: float = 1.0) -> Tensor: ...\n"
        "def lost(logits, *, gamma: Tensor = None): ...\n"
    )
    fine = find(f"{path}:fine", TABLE, family="loss")
    assert check_options(fine, {"gamma": "2"}, where="x") == {"gamma": 2.0}
    with pytest.raises(ComponentError, match="annotations of this function cannot be read"):
        check_options(find(f"{path}:lost", TABLE, family="loss"), {}, where="x")


def test_an_unknown_name_is_answered_with_a_close_one() -> None:
    with pytest.raises(ComponentError) as caught:
        find("focl", TABLE, family="loss")
    assert str(caught.value) == (
        "there is no loss called 'focl'; did you mean 'focal'?\n"
        "  allowed:  focal, needy\n"
        "  do:       choose one of these, or name a function of your own as './file.py:function'"
    )


def test_code_is_found_in_a_module_and_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "poly.py").write_text("def poly1(logits, *, epsilon: float = 1.0): ...\n")
    found = find("./poly.py:poly1", TABLE, family="loss", folder=tmp_path)
    assert found is find(f"{tmp_path}/poly.py:poly1", TABLE, family="loss")
    assert find("json:dumps", TABLE, family="loss").__module__ == "json"


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    for folder, value in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text(f"def get():\n    return {value}\n")
    values = [find("./same.py:get", {}, family="x", folder=tmp_path / folder)() for folder in "ab"]
    assert values == [1, 2]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("./gone.py:f", "there is no such file"),
        ("./broken.py:f", "cannot be imported\n  found:    ZeroDivisionError: division by zero"),
        ("./needs.py:f", "cannot be imported\n  found:    FileNotFoundError"),
        ("no_such_module:f", "cannot be imported\n  found:    ModuleNotFoundError: No module"),
        ("./sound.py:polly", "names no function; did you mean 'poly'?"),
        ("./sound.py:value", "names no function"),
        ("./sound.py:", "names no function"),
    ],
)
def test_code_that_cannot_be_used_says_why(name: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "needs.py").write_text("open('gone.txt')\n")
    (tmp_path / "sound.py").write_text("value = 3\ndef poly(): ...\n")
    with pytest.raises(ComponentError) as caught:
        find(name, TABLE, family="loss", folder=tmp_path)
    assert sentence in str(caught.value)


def test_a_file_that_failed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "mended.py"
    path.write_text("1 / 0\n")
    with pytest.raises(ComponentError):
        find(f"{path}:f", {}, family="x")
    path.write_text("def f():\n    return 'mended'\n")
    assert find(f"{path}:f", {}, family="x")() == "mended"


def test_limits_of_a_bare_le_are_known() -> None:
    def small(*, size: Annotated[int, Le(3)] = 1) -> int:
        return size

    assert problems(small, size=4) == {("size",): "4 is too large; 'size' of 'f' must be at most 3"}


def test_an_option_that_no_recipe_can_hold_is_refused():
    class Table:
        pass

    def lookup(*, table: Table | None = None) -> None:
        pass

    checked = judge_options(lookup, {"table": [1, 2]}, subject="'lookup'")
    assert checked.problems == {
        ("table",): "a recipe cannot hold what this is: Table, or null; leave it out"
    }
