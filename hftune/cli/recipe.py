"""`hftune recipe show | check | plot | diff | schema | ls | copy`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hftune.errors import RecipeError
from hftune.recipe import load_recipe, resolve_recipe
from hftune.recipe.check import check as check_shape
from hftune.recipe.json_schema import recipe_schema
from hftune.recipe.origins import leaves, origins_of
from hftune.recipe.read import dotted, plain
from hftune.recipe.resolve import merge_recipe
from hftune.recipe.shipped import copy_shipped, list_shipped, shipped_path
from hftune.recipe.show import differences, to_dict, to_yaml

app = typer.Typer(help="Show, check, compare and copy recipes.", no_args_is_help=True)

Source = Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings that win over the recipe: key.path=value.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def show(
    recipe: Source,
    overrides: Overrides = None,
    origin: Annotated[
        bool, typer.Option("--origin", help="Print what set each value, also in a wrong recipe.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the whole recipe, bases, overrides and defaults included."""
    if origin:
        _show_origins(recipe, overrides or [], as_json=as_json)
        return
    checked = load_recipe(recipe, overrides or [])
    if as_json:
        _print_json(to_dict(checked))
    else:
        print(to_yaml(checked), end="")


@app.command()
def check(recipe: Source, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check shape, ranges and component options; nothing is downloaded."""
    resolved = resolve_recipe(recipe, overrides or [])
    from hftune.train.option_check import check_options_of  # imports torch, which takes seconds

    check_options_of(resolved)
    if as_json:
        _print_json({"recipe": resolved.source, "run": resolved.recipe.run, "problems": []})
    else:
        print(f"{resolved.source}: OK (run '{resolved.recipe.run}')")


@app.command()
def plot(
    recipe: Source,
    overrides: Overrides = None,
    to: Annotated[
        Path | None, typer.Option(help="The PNG file to draw; default NAME-rates.png, here.")
    ] = None,
    steps_per_epoch: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Draw without data and model, for epochs of this many steps: a line for optim.lr "
            "and one per line of optim.rates, whatever trains; with layer decay the head's.",
        ),
    ] = None,
) -> None:
    """Draw the learning rate of every group over the run, with its phases.

    Opens the data and builds the model, as a training would; --steps-per-epoch does without.
    """
    resolved = resolve_recipe(recipe, overrides or [])
    # These import torch, which takes seconds.
    from hftune.report.rate_chart import chart_of_plan, chart_of_recipe
    from hftune.report.rates import plot_rates
    from hftune.train.option_check import check_options_of

    check_options_of(resolved)
    if steps_per_epoch is not None:
        chart = chart_of_recipe(resolved.recipe, steps_per_epoch=steps_per_epoch)
    else:
        from hftune.finetune import prepare  # the whole of training, likewise

        prepared = prepare(resolved.recipe)
        chart = chart_of_plan(prepared.plan, prepared.model)
        if not prepared.world.is_first:
            return
    print(plot_rates(chart, to or Path(f"{resolved.recipe.run}-rates.png")))


@app.command()
def diff(
    old: Source,
    new: Source,
    as_json: AsJson = False,
) -> None:
    """Print each setting in which two recipes differ."""
    changes = differences(load_recipe(old), load_recipe(new))
    if as_json:
        keys = ("setting", "old", "new")
        _print_json([dict(zip(keys, change, strict=True)) for change in changes])
        return
    width = max((len(setting) for setting, _, _ in changes), default=0)
    for setting, before, after in changes:
        print(f"{setting:<{width}}  {json.dumps(before)} -> {json.dumps(after)}")
    if not changes:
        print("no setting differs")


@app.command()
def schema() -> None:
    """Print a JSON Schema of recipe files, for editors."""
    _print_json(recipe_schema())


@app.command(name="ls")
def list_recipes(as_json: AsJson = False) -> None:
    """List the recipes that come with hftune."""
    recipes = list_shipped()
    if as_json:
        _print_json(
            [
                {"name": found.name, "title": found.title, "path": str(found.path)}
                for found in recipes
            ]
        )
        return
    width = max(len(found.name) for found in recipes)
    for found in recipes:
        print(f"{found.name:<{width}}  {found.title}")


@app.command()
def copy(
    name: Annotated[str, typer.Argument(help="The name of a shipped recipe.")],
    folder: Annotated[Path, typer.Argument(help="Where to put it and its bases.")] = Path(
        "recipes"
    ),
    as_json: AsJson = False,
) -> None:
    """Copy a shipped recipe and the bases it inherits, to be edited."""
    files = merge_recipe(shipped_path(name)).files
    copies = copy_shipped(files, folder)
    if as_json:
        _print_json([str(path) for path in copies])
        return
    for path in copies:
        print(path)
    print(f"train it: hftune train {copies[-1]}", file=sys.stderr)


def _show_origins(source: str, overrides: Sequence[str], *, as_json: bool) -> None:
    """Print each value and what set it; in a wrong recipe those that are given, then why."""
    merged = merge_recipe(source, overrides)
    problems: RecipeError | None = None
    try:
        values = to_dict(check_shape(merged))
    except RecipeError as error:
        values, problems = plain(merged.root), error
    places = origins_of(values, merged.root)
    rows = [(dotted(path), value) for path, value in leaves(values)]
    if as_json:
        _print_json([{"setting": s, "value": value, "origin": places[s]} for s, value in rows])
    else:
        table = [(setting, _word(value), places[setting]) for setting, value in rows]
        widths = [max((len(row[column]) for row in table), default=0) for column in (0, 1)]
        for setting, word, place in table:
            print(f"{setting:<{widths[0]}}  {word:<{widths[1]}}  {place}")
    if problems is not None:
        raise problems


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
