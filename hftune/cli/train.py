"""`hftune train RECIPE [key=value ...]`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hftune.finetune import Finished, Prepared, finetune, prepare
from hftune.recipe import resolve_recipe
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
    """Print every number that the plan settled."""
    values = plan_to_json(prepared.plan, prepared.model)
    if as_json:
        json.dump(values, sys.stdout, indent=2)
        print()
        return
    plan, splits = prepared.plan, prepared.splits
    images = [f"{len(splits.train)} train", f"{len(splits.val)} val"]
    if splits.test is not None:
        images.append(f"{len(splits.test)} test")
    rows = {
        "run": plan.recipe.run,
        "backbone": f"{prepared.model.base.architecture}, {values['parameters']:,} parameters",
        "classes": f"{splits.labels.size}: {', '.join(splits.labels.names[:8])}",
        "images": ", ".join(images),
        "steps": f"{plan.total_steps} ({plan.steps_per_epoch} per epoch)",
        "batch": f"{plan.batch_size} = {plan.micro_batch_size} x {plan.accumulation} accumulated "
        f"x {plan.world_size} processes",
        "precision": f"{plan.precision} on {prepared.world.device}",
        "evaluate": f"every {plan.eval_every} steps",
    }
    for name, text in rows.items():
        print(f"{name:<11} {text}")
    for phase in values["phases"]:  # type: ignore[attr-defined]  # our own JSON
        print(
            f"{'phase':<11} steps {phase['start']} to {phase['stop']}: {phase['label']}, "
            f"{phase['trainable_parameters']:,} parameters train"
        )
        for group in phase["groups"]:
            print(
                f"{'':<11}   {group['label']:<24} {group['parameters']:>12,} parameters  "
                f"lr {group['lr']:.3g}  weight decay {group['weight_decay']:g}"
            )


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
