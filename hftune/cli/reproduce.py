"""`hftune reproduce REPO`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from hftune.errors import PublishError
from hftune.reproduce import Reproduction, reproduce
from hftune.train.liveness import speaks


def command(
    repo: Annotated[str, typer.Argument(help="A published repository, or an artifact folder.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings such as data.source.path=./images, for what is not public."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The new run's folder; default runs/NAME-again."),
    ] = None,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Run code that the published recipe names.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a published model again from its own recipe, and compare weights and metrics.

    Every commit is the published one; nothing is pushed. The exit code is 2 where neither weights
    nor metrics agree. The same command goes on after a stop.
    """
    result = reproduce(repo, output=output, overrides=overrides or [], trust_code=trust_code)
    if not speaks():
        return
    if as_json:
        json.dump(result.to_json(), sys.stdout, indent=2)
        print()
    else:
        print_result(repo, result)
    if not result.agrees:
        raise PublishError(
            "the run could not be reproduced: metrics differ by more than chance",
            found="\n".join(
                f"{one.split} {one.name}: {one.now:.4f}, published {one.published:.4f}"
                for one in result.metrics
                if not one.agrees
            ),
            where=repo,
            remedy="compare the data and the versions above with the published ones",
        )


def print_result(repo: str, result: Reproduction) -> None:
    """Print weights, metrics and what else is different, a line each."""
    print()
    print(f"reproduced  {repo}{f' at {result.commit[:12]}' if result.commit else ''}")
    print(f"run         {result.run}")
    if result.is_exact:
        print(f"weights     equal bit for bit: all {result.tensors} tensors")
    else:
        print(
            f"weights     {result.equal} of {result.tensors} tensors equal bit for bit; the"
            f" largest difference is {result.gap:.3g}"
        )
    for one in result.metrics:
        verdict = "agrees" if one.agrees else "DIFFERS"
        print(
            f"{one.split:<11} {one.name} {one.now:.4f}, published {one.published:.4f}:"
            f" {verdict} (within {one.allowed:.4f})"
        )
    for other in result.others:
        print(f"other       {other}")
