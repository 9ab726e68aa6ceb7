"""`hftune tune RECIPE KEY=RANGE_OR_CHOICE ... [key=value ...]`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from hftune.cli.inspect import table_lines
from hftune.describe import Table
from hftune.report.tuning import Tuning
from hftune.train.world import join_world
from hftune.tune import BEST_FILE, PICTURE, Budget, Method, Pruner, Sampler, tune
from hftune.units import format_duration, parse_duration

_MOST_ROWS = 10


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    space: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to search: optim.lr=log:1e-5..1e-2, freeze.stages=0..3, "
            "train.batch_size=16|32|64, or a YAML file of such lines; key=value for all trials."
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Finished trials in all; default 20, or a whole grid.")
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="Begin no trial after this time, such as '2 h'.")
    ] = None,
    sampler: Annotated[Sampler, typer.Option(help="How the next settings are chosen.")] = "tpe",
    pruner: Annotated[
        Pruner, typer.Option(help="End a trial that is below the others' median, or never.")
    ] = "median",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder; default runs/NAME-tune.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the search as JSON.")] = False,
) -> None:
    """Search settings of a recipe; each trial is a run, judged on validation."""
    seconds = None if time is None else parse_duration(time)
    found = tune(
        recipe,
        space or [],
        output,
        method=Method(sampler=sampler, pruner=pruner, seed=seed),
        budget=Budget(trials=trials, seconds=seconds),
    )
    if not join_world().is_first:
        return
    if as_json:
        json.dump(found.to_json(), sys.stdout, indent=2)
        print()
        return
    print_tuning(found)


def print_tuning(found: Tuning) -> None:
    """Print the best trials, what mattered, and where everything lies."""
    for line in table_lines(as_table(found)):
        print(line)
    ended = [f"{found.count(state)} {state}" for state in ("complete", "pruned", "failed")]
    print(f"\n{len(found.trials)} trials: {', '.join(ended)}")
    for failed in [trial for trial in found.trials if trial.state == "failed"][:_MOST_ROWS]:
        print(f"  trial {failed.number}: {failed.reason}")
    if found.importance is not None:
        shares = "  ".join(f"{name} {share:.2f}" for name, share in found.importance.items())
        print(f"importance  {shares}")
    if found.best is None:
        return
    print(f"picture     {found.folder / PICTURE}")
    print(f"best        {found.folder / BEST_FILE}")
    print(
        "The best of many trials on one validation split looks better than it is. Train it with "
        "another seed,\nor judge it once on images that chose nothing: "
        f"hftune eval {found.folder / found.best.folder}"
    )


def as_table(found: Tuning) -> Table:
    """Give the complete trials, best first."""
    settings = [searched.setting for searched in found.searched]
    rows = [
        (
            trial.number,
            trial.value,
            *(trial.settings[setting] for setting in settings),
            format_duration(trial.seconds),
        )
        for trial in found.ranked
    ]
    return Table(
        title=found.name,
        columns=("trial", found.metric, *settings, "time"),
        rows=tuple(rows),
        shown=_MOST_ROWS,
    )
