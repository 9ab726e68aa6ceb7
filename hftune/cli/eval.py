"""`hftune eval RUN_OR_REPO`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hftune.core import EvalResult
from hftune.judge import judge_thing


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
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Judge a run or a repository on a split, with the transform that it was published with."""
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
