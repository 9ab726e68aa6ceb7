"""`hftune find-lr RECIPE [key=value ...]`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hftune.core import RunPlan
from hftune.finetune import prepare
from hftune.optim.rate_range import RateCurve, RateRange, Suggestion, check_range, suggest
from hftune.recipe import resolve_recipe
from hftune.report.range_curve import plot_range_test
from hftune.train.option_check import check_options_of
from hftune.train.range_test import range_test


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings that win over the recipe: key.path=value.")
    ] = None,
    lowest: Annotated[float, typer.Option("--from", help="The rate to begin at.")] = 1e-7,
    highest: Annotated[float, typer.Option("--to", help="The rate to rise to.")] = 1.0,
    steps: Annotated[int, typer.Option("--steps", help="Rates to try, one step each.")] = 100,
    to_file: Annotated[
        Path | None, typer.Option("--to-file", help="Draw the curve into this PNG file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the curve as JSON.")] = False,
) -> None:
    """Raise the rate while a copy of the model trains, and suggest optim.lr from the losses.

    It takes the recipe's own images, first phase, optimizer and groups. Nothing is kept: there is
    no run folder, and the weights are thrown away. The loss is smoothed; the suggestion is where it
    falls steepest over the logarithm of the rate, but at most a tenth of the rate at its minimum.
    """
    wanted = RateRange(lowest=lowest, highest=highest, steps=steps)
    check_range(wanted)
    resolved = resolve_recipe(recipe, overrides or [])
    check_options_of(resolved)
    prepared = prepare(resolved.recipe)
    plan = prepared.plan
    curve = range_test(
        plan, prepared.model, prepared.splits.train, wanted, teacher=prepared.teacher
    )
    if not prepared.world.is_first:
        return
    suggestion = suggest(curve)
    if to_file is not None:
        plot_range_test(curve, suggestion, to_file, name=plan.recipe.run)
    if as_json:
        json.dump(as_values(plan, curve, suggestion), sys.stdout, indent=2)
        print()
    else:
        print_suggestion(plan, curve, suggestion)
        if to_file is not None:
            print(to_file)


def print_suggestion(plan: RunPlan, curve: RateCurve, suggestion: Suggestion) -> None:
    """Print what the curve says, and the setting that follows from it."""
    ends = ", where the loss diverged" if curve.ends_early else ""
    print(
        f"{len(curve.rates)} steps from {curve.rates[0]:.1e} to {curve.rates[-1]:.1e}{ends}; "
        f"smoothed loss {curve.smooth[0]:.4f} at first, {min(curve.smooth):.4f} at the lowest"
    )
    if suggestion.rate is None:
        print(f"no suggestion: {suggestion.reason}")
        return
    print(f"steepest fall of the loss               {suggestion.steepest:.1e}")
    print(f"a tenth of the rate at the lowest loss  {suggestion.bound:.1e}")
    print(f"set optim.lr={stated_rate(plan, suggestion.rate):.1e}")


def as_values(plan: RunPlan, curve: RateCurve, suggestion: Suggestion) -> dict[str, Any]:
    """Give the curve and the suggestion as JSON values. `lr` is what `optim.lr` would be."""
    rate = suggestion.rate
    return {
        "run": plan.recipe.run,
        "batch_size": plan.batch_size,
        "rates": list(curve.rates),
        "losses": list(curve.losses),
        "smoothed": list(curve.smooth),
        "diverged": curve.ends_early,
        "steepest": suggestion.steepest,
        "bound": suggestion.bound,
        "suggested": rate,
        "lr": None if rate is None else stated_rate(plan, rate),
        "reason": suggestion.reason,
    }


def stated_rate(plan: RunPlan, rate: float) -> float:
    """Give the `optim.lr` whose peak rate for this run's batch is `rate`."""
    return rate * plan.recipe.optim.lr / plan.peak_lr
