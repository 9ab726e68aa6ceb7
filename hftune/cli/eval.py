"""`hftune eval RUN_OR_REPO`; with --probe: whether a published model is what it was."""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hftune.core import EvalResult
from hftune.errors import PublishError, RequestError
from hftune.export.drift import PARTS, Comparison
from hftune.judge import compare_thing, judge_thing


def command(
    thing: Annotated[str, typer.Argument(help="A run folder, an artifact folder or a repository.")],
    data: Annotated[
        str | None,
        typer.Option("--data", help="Recipe whose data to judge on; default: the thing's own."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="train, val or test; default: test, or val without one.")
    ] = None,
    trust_code: Annotated[
        bool,
        typer.Option("--trust-code", help="Run code that the recipe in an artifact or repo names."),
    ] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Compare classes, transform, weights and logits with the published probe instead;"
            " no data is needed.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Judge a run or a repository on a split, with the transform that it was published with.

    With --probe the exit code is 2 where the model is not as it was published.
    """
    if probe:
        refuse_beside_probe({"--data": data, "--split": split, "--trust-code": trust_code})
        say_comparison(thing, compare_thing(thing), as_json=as_json)
        return
    result = judge_thing(thing, data=data, split=split, trust_code=trust_code)
    if as_json:
        json.dump(asdict(result), sys.stdout, indent=2)
        print()
        return
    print_result(thing, result)


def print_result(thing: str, result: EvalResult) -> None:
    """Print the metrics of a split, then those of each class."""
    print(f"{Path(thing).name}: {result.split}, {result.num_examples} images")
    print(f"  {'loss':<24} {result.loss:.4f}")
    for name, value in result.values.items():
        print(f"  {name:<24} {value:.4f}")
    for name, row in result.per_class.items():
        shown = "  ".join(f"{key} {value:.4g}" for key, value in row.items())
        print(f"  {name:<24} {shown}")


def refuse_beside_probe(others: Mapping[str, object]) -> None:
    """Raise RequestError for options that --probe has no use for."""
    given = [name for name, value in others.items() if value]
    if given:
        raise RequestError(
            "the probe is compared without data",
            found=f"--probe and {', '.join(given)}",
            remedy="leave one of them out",
        )


def say_comparison(thing: str, comparison: Comparison, *, as_json: bool) -> None:
    """Print how a model compares with its probe. Raises PublishError where it does not agree."""
    if as_json:
        gap = comparison.gap if math.isfinite(comparison.gap) else None
        values = asdict(comparison) | {"gap": gap, "agrees": comparison.agrees}
        json.dump(values, sys.stdout, indent=2)
        print()
    else:
        print_comparison(thing, comparison)
    if not comparison.agrees:
        lines = [f"{drift.part}: {drift.found}" for drift in comparison.drifts]
        raise PublishError(
            "this model is not as it was when its probe was made",
            found="\n".join(lines or [f"logits that differ by {comparison.gap:.3g}"]),
            where=thing,
            remedy="load another revision (NAME@REVISION), or build it again: hftune export RUN",
        )


def print_comparison(thing: str, comparison: Comparison) -> None:
    """Print a line per part of a model, then how far its logits are from the probe's."""
    print(f"{Path(thing).name}: {comparison.images} probe images")
    drifted = {drift.part for drift in comparison.drifts}
    for part in PARTS:
        print(f"  {part:<16} {'not as published' if part in drifted else 'as published'}")
    gap, allowed = comparison.gap, comparison.allowed
    print(f"  {'logits':<16} differ by at most {gap:.1e}, {allowed:.1e} is allowed")
    for note in comparison.notes:
        print(f"  note: {note}")
