"""`hftune train RECIPE [key=value ...]`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hftune.cli.inspect import print_description
from hftune.describe.plan import describe_plan
from hftune.finetune import Finished, Prepared, finetune, prepare
from hftune.recipe import resolve_recipe
from hftune.train.memory import estimate_memory
from hftune.train.option_check import check_options_of
from hftune.train.plan import plan_to_json
from hftune.units import format_duration


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings that win over the recipe: key.path=value.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder; default runs/NAME.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and stop; nothing is trained.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Fine-tune a recipe, or go on where it stopped; push if the recipe says so."""
    resolved = resolve_recipe(recipe, overrides or [])
    check_options_of(resolved)
    if dry_run:
        prepared = prepare(resolved.recipe)
        if prepared.world.is_first:
            print_plan(prepared, as_json=as_json)
        return
    finished = finetune(resolved.recipe, output=output, origins=resolved.origins)
    if finished.artifact is not None:  # rank 0
        print_finished(finished, as_json=as_json)


def print_plan(prepared: Prepared, *, as_json: bool) -> None:
    """Print every number that the plan settled, and the memory that each phase will hold."""
    plan, model, device = prepared.plan, prepared.model, prepared.world.device
    memory = estimate_memory(plan, model, device)
    description = describe_plan(plan, model, prepared.splits, device=device, memory=memory)
    if not as_json:
        print_description(description)
        return
    values = description.to_json() | {
        "plan": plan_to_json(plan, model),
        "memory": [phase.to_json() for phase in memory],
    }
    json.dump(values, sys.stdout, indent=2)
    print()


def print_finished(finished: Finished, *, as_json: bool) -> None:
    """Print the metrics, and where everything lies."""
    results, published = finished.results, finished.published
    if as_json:
        json.dump(
            {
                "run": str(finished.run),
                "results": results.to_json(),
                "pushed": None if published is None else asdict(published),
            },
            sys.stdout,
            indent=2,
            default=str,
        )
        print()
        return
    print(
        f"trained {results.steps} steps in {format_duration(results.seconds)}; "
        f"best weights from step {results.best_step} by {results.best_metric}"
    )
    for result in results.evaluations:
        shown = "  ".join(f"{name} {value:.4f}" for name, value in result.values.items())
        print(f"{result.split:<5} {result.num_examples:>6} images  loss {result.loss:.4f}  {shown}")
    print(f"run       {finished.run}")
    print(f"pictures  {finished.run / 'report'}")
    assert finished.artifact is not None
    print(f"artifact  {finished.artifact.folder}")
    if published is not None:
        print(f"pushed    {published.ref.repo_id} at commit {published.ref.commit}")
        print(f"verified  pulled into an empty cache, logits differ by {published.logit_gap:.1e}")
