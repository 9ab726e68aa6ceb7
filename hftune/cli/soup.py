"""`hftune soup RUN_OR_CHECKPOINT RUN_OR_CHECKPOINT [...]`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from hftune.soup import Soup, make_soup
from hftune.train.world import join_world


def command(
    ingredients: Annotated[
        list[Path],
        typer.Argument(help="Finished runs, or checkpoints such as RUN/checkpoints/step-00000100."),
    ],
    uniform: Annotated[
        bool,
        typer.Option(
            "--uniform/--greedy",
            help="Average all of them, or add one after the other while validation does not fall.",
        ),
    ] = False,
    to: Annotated[
        Path | None, typer.Option(help="The new run folder; default: the first run's, with -soup.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Average the weights of several runs of one backbone; the result is a run of its own."""
    soup = make_soup(ingredients, method="uniform" if uniform else "greedy", to=to)
    if join_world().is_first:
        print_soup(soup, as_json=as_json)


def print_soup(soup: Soup, *, as_json: bool) -> None:
    """Print what was judged, what was taken, and how good the result is."""
    record = soup.record
    if as_json:
        values = {"run": str(soup.run), "soup": record.to_json(), "results": soup.results.to_json()}
        json.dump(values, sys.stdout, indent=2)
        print()
        return
    print(f"{record.metric} on validation")
    for one in record.ingredients:
        print(f"  {_shown(one.value):>8}  {one.name}")
    for tried in record.decisions:
        verdict = "taken" if tried.taken else f"not taken: {_shown(tried.against)} without"
        print(f"  {_shown(tried.value):>8}  {' + '.join(tried.members)}  ({verdict})")
    if len(record.members) == 1:
        print(f"no mixture is as good as {record.members[0]} alone; these are its weights")
    else:
        print(f"averaged  {len(record.members)} of {len(record.ingredients)} ingredients")
    for result in soup.results.evaluations:
        shown = "  ".join(f"{name} {value:.4f}" for name, value in result.values.items())
        print(f"{result.split:<5} {result.num_examples:>6} images  loss {result.loss:.4f}  {shown}")
    print(f"run       {soup.run}")


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
