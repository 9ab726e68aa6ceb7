"""`hftune compare RECIPE RECIPE ... [key=value ...]`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hftune.compare import PAGE, PICTURE, compare
from hftune.errors import Problem, RecipeError
from hftune.recipe import Resolved, resolve_recipe
from hftune.report.comparison_text import comparison_page
from hftune.train.world import join_world


def command(
    recipes: Annotated[
        list[str],
        typer.Argument(help="Two or more recipes, and settings for all of them: key.path=value."),
    ],
    seeds: Annotated[
        int, typer.Option(min=1, help="Runs per recipe, each with a seed of its own.")
    ] = 3,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the runs and the comparison.")
    ] = Path("runs/comparison"),
    metric: Annotated[
        str | None, typer.Option(help="What to compare by; default: what picks the best weights.")
    ] = None,
    allow_other_budget: Annotated[
        bool,
        typer.Option("--allow-other-budget", help="Let length, batch and evaluations differ."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Train recipes on the same data with the same budget, and say which can be told apart."""
    comparison = compare(
        resolve_all(recipes),
        output,
        seeds=seeds,
        metric=metric,
        allow_other_budget=allow_other_budget,
    )
    if not join_world().is_first:
        return
    if as_json:
        json.dump(comparison.to_json(), sys.stdout, indent=2)
        print()
        return
    print(comparison_page(comparison, picture=PICTURE))
    print(output / PAGE)
    print(output / PICTURE)


def resolve_all(words: Sequence[str]) -> list[Resolved]:
    """Read the recipes among `words` with the overrides among them.

    Raises RecipeError with every problem of every recipe.
    """
    overrides = [word for word in words if "=" in word and not Path(word).exists()]
    resolved: list[Resolved] = []
    sources: list[str] = []
    problems: list[Problem] = []
    for source in (word for word in words if word not in overrides):
        try:
            resolved.append(resolve_recipe(source, overrides))
        except RecipeError as error:
            sources.append(error.source)
            problems.extend(problem for problem in error.problems if problem not in problems)
    if problems:
        raise RecipeError(", ".join(sources), problems)
    return resolved
