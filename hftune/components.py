"""A name in a table, 'module:function' or './file.py:function' -> a function and its options.

A component is a function whose keyword-only parameters are its options and whose annotations are
their ranges. There is no second schema.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar, get_type_hints

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from hftune.errors import ComponentError
from hftune.recipe.check import explain
from hftune.recipe.read import SettingPath, dotted
from hftune.recipe.schema import Component
from hftune.recipe.shape import refuse_truth
from hftune.recipe.wording import describe, did_you_mean, listed

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Options after checking: the `values` to call with, and a sentence per wrong option.

    A problem's key is the option, or the option and the place in it: ('betas', 1).
    """

    values: Mapping[str, Any]
    problems: Mapping[SettingPath, str]


def find(
    name: str,
    table: Mapping[str, Callable[..., T]],
    *,
    family: str,
    folder: Path | None = None,
) -> Callable[..., T]:
    """Give the function called `name` in `table`, or the code that 'place:function' names.

    `family` is what messages call it ('loss'); `folder` is where a relative file lies, else the
    working directory. Side effect: code named this way is imported. Raises ComponentError.
    """
    if name in table:
        return table[name]
    if ":" in name:
        place, _, function = name.rpartition(":")
        return _function(_module(place, folder or Path()), function, name)
    raise ComponentError(
        f"there is no {family} called '{name}'{did_you_mean(name, table)}",
        allowed=", ".join(table),
        remedy="choose one of these, or name a function of your own as './file.py:function'",
    )


def bind(
    component: Component,
    table: Mapping[str, Callable[..., T]],
    *,
    family: str,
    folder: Path | None = None,
    filled: Mapping[str, object] | None = None,
) -> Callable[..., T]:
    """Give the component's function with its checked options bound.

    `filled` are values that the caller sets where the function takes them; they are no options of
    the recipe. Raises ComponentError for an unknown name or wrong options.
    """
    function = find(component.name, table, family=family, folder=folder)
    taken = {key: value for key, value in (filled or {}).items() if key in _keywords(function)}
    where = f"{family} '{component.name}'"
    options = check_options(function, component.options, where=where, filled=taken)
    return partial(function, **taken, **options)


def check_options(
    function: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    where: str,
    filled: Collection[str] = (),
) -> dict[str, Any]:
    """Give `options` converted to what the annotations of `function` say.

    Raises ComponentError with every problem of every option.
    """
    checked = judge_options(function, options, subject=f"the {where}", filled=filled)
    if checked.problems:
        count = len(checked.problems)
        lines = [f"{dotted(path)}: {text}" for path, text in checked.problems.items()]
        raise ComponentError(
            f"{count} option{'s' * (count > 1)} of the {where} cannot be used",
            found="\n".join(lines),
            remedy="correct them in the recipe",
        )
    return dict(checked.values)


def judge_options(
    function: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    subject: str,
    filled: Collection[str] = (),
) -> Checked:
    """Check options without raising: unknown and missing names, types and ranges.

    A function that takes any keyword is given what it is given. Raises ComponentError only for
    annotations that cannot be read.
    """
    parameters = {
        name: parameter for name, parameter in _keywords(function).items() if name not in filled
    }
    hints = _hints(function, parameters)
    takes_any = any(
        parameter.kind is parameter.VAR_KEYWORD
        for parameter in inspect.signature(function).parameters.values()
    )
    values: dict[str, Any] = {}
    problems: dict[SettingPath, str] = {}
    for name, value in options.items():
        if name in parameters:
            values[name] = _judge(name, value, hints[name], subject, problems)
        elif takes_any:
            values[name] = value
        else:
            problems[(name,)] = _unknown(name, list(parameters), subject)
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in options:
            problems[(name,)] = f"missing; {subject} needs {describe(hints[name])}"
    return Checked(values=values, problems=problems)


def option_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Give the annotation of every option of a function. Raises ComponentError."""
    return _hints(function, _keywords(function))


def _judge(name: str, value: Any, hint: Any, subject: str, problems: dict[SettingPath, str]) -> Any:
    """Give one option converted; note what is wrong with it."""
    found: dict[SettingPath, str] = {}
    refuse_truth(value, hint, (), found.__setitem__)
    if not found:
        try:
            return TypeAdapter(hint).validate_python(value)
        except ValidationError as error:
            found.update(explain(error, value, hint, f"'{name}' of {subject}"))
        except PydanticSchemaGenerationError:
            found[()] = f"a recipe cannot hold what this is: {describe(hint)}; leave it out"
    for path, text in found.items():
        problems[(name, *path)] = text
    return value


def _unknown(name: str, known: list[str], subject: str) -> str:
    close = did_you_mean(name, known)
    if close or not known:
        return f"{subject} has no such option{close}" + ("" if known else "; it takes none")
    return f"{subject} has no such option; possible: {listed(known)}"


def _keywords(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Give the keyword-only parameters of a function: its options."""
    parameters = inspect.signature(function).parameters
    return {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def _hints(
    function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]
) -> dict[str, Any]:
    """Give the annotations of options; those of other parameters are never looked at."""
    annotations = {
        name: Any if parameter.annotation is parameter.empty else parameter.annotation
        for name, parameter in parameters.items()
    }
    inner = function
    while isinstance(inner, partial):
        inner = inner.func
    inner = inspect.unwrap(inner)
    names = getattr(inner, "__globals__", None) or vars(sys.modules[inner.__module__])
    try:
        return get_type_hints(
            SimpleNamespace(__annotations__=annotations), globalns=names, include_extras=True
        )
    except NameError as error:
        raise ComponentError(
            "the annotations of this function cannot be read",
            found=str(error),
            where=f"{inner.__module__}:{getattr(inner, '__qualname__', inner)}",
            remedy="import what the annotations of its options name",
        ) from error


def _module(place: str, folder: Path) -> ModuleType:
    """Import a module by name, or a file by its path."""
    path = folder / place
    if path.suffix == ".py" and not path.is_file():
        raise ComponentError("there is no such file", where=str(path), remedy="correct the path")
    try:
        return _file_module(path) if path.suffix == ".py" else importlib.import_module(place)
    except Exception as error:
        raise ComponentError(
            f"'{place}' cannot be imported",
            found=f"{type(error).__name__}: {error}",
            remedy="correct it, or name a file as './file.py:function'",
        ) from error


def _file_module(path: Path) -> ModuleType:
    """Import a file once per process, under a name that no package has."""
    path = path.resolve()
    tag = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"hftune_recipe_code_{path.stem}_{tag}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _function(module: ModuleType, function: str, name: str) -> Callable[..., Any]:
    found = getattr(module, function, None)
    if callable(found):
        return found  # type: ignore[no-any-return]  # callable() does not narrow to Callable[..., Any]
    known = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
    raise ComponentError(
        f"'{name}' names no function{did_you_mean(function, known)}",
        allowed=", ".join(known) or "a function defined in this module",
        where=getattr(module, "__file__", None) or module.__name__,
        remedy="write it as './file.py:function'",
    )
