"""What a user reads when a command ends with a message, and with which exit code."""

import pickle

import pytest

from hftune import errors
from hftune.errors import (
    AbilityError,
    DataError,
    DefectError,
    DiskError,
    HftuneError,
    HubError,
    Problem,
    RecipeError,
    RequestError,
    Stopped,
)

CLASSES = sorted(
    (
        item
        for item in vars(errors).values()
        if isinstance(item, type) and issubclass(item, HftuneError)
    ),
    key=lambda item: item.__name__,
)


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_has_one_of_the_exit_codes(error: type[HftuneError]) -> None:
    if issubclass(error, AbilityError):
        expected = 3
    elif error is Stopped:
        expected = 75
    elif error is DefectError:
        expected = 1
    else:
        expected = 2
        assert error is HftuneError or issubclass(error, RequestError)
    assert error.exit_code == expected


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_says_when_it_is_raised(error: type[HftuneError]) -> None:
    assert error.__doc__
    assert error.__doc__ != error.__bases__[0].__doc__


def test_a_message_has_a_line_for_each_fact() -> None:
    error = DataError(
        "a class is missing",
        found="no 'cat' in val",
        allowed="every class in every split",
        where="/data/pets",
        remedy="move some images\nor split by share",
    )
    assert str(error).splitlines() == [
        "a class is missing",
        "  found:    no 'cat' in val",
        "  allowed:  every class in every split",
        "  where:    /data/pets",
        "  do:       move some images",
        "            or split by share",
    ]


def test_facts_that_are_unknown_take_no_line() -> None:
    assert str(DiskError("no space left", where="run")) == "no space left\n  where:    run"
    assert str(HubError("no answer")) == "no answer"


def test_the_facts_are_attributes() -> None:
    error = DataError("sentence", found="this", remedy="that")
    assert (error.problem, error.found, error.allowed, error.where, error.remedy) == (
        "sentence",
        "this",
        None,
        None,
        "that",
    )


def test_all_problems_of_a_recipe_are_shown_together() -> None:
    problems = [
        Problem(setting="optim.layr_decay", place="pets.yaml:14", text="no such setting"),
        Problem(setting="run", place="", text="must be given\nfor instance: run: pets"),
    ]
    error = RecipeError("pets.yaml", problems, remedy="See: hftune recipe show pets.yaml")
    assert str(error).splitlines() == [
        "2 problems in pets.yaml",
        "",
        "  optim.layr_decay    pets.yaml:14",
        "      no such setting",
        "",
        "  run",
        "      must be given",
        "      for instance: run: pets",
        "",
        "Nothing was downloaded or written.",
        "See: hftune recipe show pets.yaml",
    ]


def test_one_problem_is_singular() -> None:
    error = RecipeError("pets.yaml", [Problem(setting="run", place="pets.yaml:1", text="empty")])
    assert str(error).startswith("1 problem in pets.yaml\n")


def test_an_error_crosses_processes_whole() -> None:
    """Loader processes hand errors to their parent by pickle."""
    error = DataError("unreadable image", found="truncated", where="a.jpg", remedy="replace it")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is DataError
    assert str(copy) == str(error)


def test_a_recipe_error_crosses_processes_whole() -> None:
    error = RecipeError("pets.yaml", [Problem(setting="run", place="pets.yaml:1", text="empty")])
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
