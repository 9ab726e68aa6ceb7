"""`hftune doctor [RECIPE]`."""

import json
import sys
from collections.abc import Iterable
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from hftune.doctor import Examination, Finding, examine

_SIGNS = {"fine": ("ok", "green"), "note": ("note", "yellow"), "fault": ("FAULT", "bold red")}


def command(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe that is to run here: its needs are checked, too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check packages, devices, memory, disks, the Hub, the token and the launcher.

    Nothing is downloaded or written. Each finding comes with its remedy. The exit code is 3 where
    something stops a run.
    """
    examination = examine(recipe)
    if as_json:
        json.dump(examination.to_json(), sys.stdout, indent=2)
        print()
    else:
        print_findings(examination.findings)
        print(verdict(examination))
    if examination.faults:
        raise typer.Exit(3)


def print_findings(findings: Iterable[Finding]) -> None:
    """Print a line per finding, below its topic, and a line for each remedy."""
    console = Console(highlight=False, soft_wrap=True)
    topic = ""
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            console.print(Text(topic, style="bold"))
        sign, style = _SIGNS[finding.state]
        console.print(Text.assemble("  ", (f"{sign:<6}", style), finding.fact))
        if finding.remedy:
            console.print(Text(f"        do: {finding.remedy}"))


def verdict(examination: Examination) -> str:
    """Say in a line whether a run can start."""
    faults, notes = len(examination.faults), sum(f.state == "note" for f in examination.findings)
    counted = f"{faults} fault{'s' * (faults != 1)}, {notes} note{'s' * (notes != 1)}"
    return f"{counted}: a run can start here" if not faults else f"{counted}: mend the faults first"
