"""A space against the recipe: every end and every choice is tried on it before anything runs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from hftune.errors import Problem, RecipeError, RequestError
from hftune.recipe import Resolved, resolve_recipe
from hftune.recipe.terms import DATA_TERMS, is_within
from hftune.train.option_check import check_options_of
from hftune.tune.space import Choice, Dimension, Space

# What a trial is judged by, where it is kept and how it is shown: the same for all trials.
_OF_THE_STUDY = (
    *DATA_TERMS,
    "run",
    "base",
    "data.audit",
    "data.missing_classes",
    "data.on_bad_image",
    "eval.best",
    "eval.metrics",
    "hub",
    "save",
    "track",
    "train.time_budget",
)


def check_space(source: str, overrides: Sequence[str], space: Space) -> tuple[Resolved, Space]:
    """Resolve the recipe, and give the space with what the recipe's types say about it.

    Raises RecipeError for a wrong recipe, or with every problem of the space; RequestError where
    there is nothing to search.
    """
    resolved = resolve_recipe(source, overrides)
    check_options_of(resolved)
    if not space:
        raise RequestError(
            "there is nothing to search: no setting has a range or a choice",
            allowed="KEY=LOW..HIGH, KEY=log:LOW..HIGH or KEY=ONE|OTHER after the recipe",
            remedy=f"for instance: hftune tune {source} optim.lr=log:1e-5..1e-2",
        )
    problems = [
        problem for dimension in space for problem in _problems(source, overrides, dimension)
    ]
    if problems:
        raise RecipeError("the space", problems)
    return resolved, tuple(_settled(source, overrides, dimension) for dimension in space)


def values_to_try(dimension: Dimension) -> tuple[str, ...]:
    """Give the values between which all others of a dimension lie."""
    return dimension.texts if isinstance(dimension, Choice) else dimension.ends


def _problems(source: str, overrides: Sequence[str], dimension: Dimension) -> Iterator[Problem]:
    setting, place = dimension.setting, dimension.place
    if any(is_within(setting, term) for term in _OF_THE_STUDY):
        text = "this cannot be searched: trials of other data or another metric do not compare"
        yield Problem(setting=setting, place=place, text=text)
        return
    texts = [
        text
        for value in values_to_try(dimension)
        for text in _wrong(source, [*overrides, f"{setting}={value}"], setting)
    ]
    for text in dict.fromkeys(texts):
        yield Problem(setting=setting, place=place, text=text)


def _wrong(source: str, overrides: Sequence[str], setting: str) -> Iterator[str]:
    """Give what is wrong with the recipe, which is right without the last override."""
    try:
        check_options_of(resolve_recipe(source, overrides))
    except RecipeError as error:
        value = overrides[-1].partition("=")[2]
        for problem in error.problems:
            if problem.setting == setting:
                yield problem.text
            else:
                yield f"with {value}: {problem.setting}: {problem.text}"


def _settled(source: str, overrides: Sequence[str], dimension: Dimension) -> Dimension:
    """Let a range without unit hold fractions where its setting takes them."""
    if isinstance(dimension, Choice) or dimension.unit or not dimension.is_whole:
        return dimension
    fractions = replace(dimension, is_whole=False)
    half = f"{dimension.setting}={fractions.text(dimension.low + 0.5)}"
    is_whole = any(_wrong(source, [*overrides, half], dimension.setting))
    return replace(dimension, is_whole=is_whole)
