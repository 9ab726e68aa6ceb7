"""`hftune export RUN`."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from hftune.core import Artifact
from hftune.export.artifact import build_artifact
from hftune.export.gate import Verdict, verify_folder
from hftune.export.outside import Outside
from hftune.report.plots import draw_report
from hftune.units import format_size


def command(
    run: Annotated[Path, typer.Argument(help="A finished run's folder.")],
    repo: Annotated[
        str | None, typer.Option(help="Where it will be pushed, for the card's examples.")
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify/--no-verify",
            help="Load the folder with timm and, where installed, transformers; compare logits.",
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Build the folder that is published: weights, config, card, recipe, record and probe."""
    with Outside() if verify else nullcontext() as outside:
        draw_report(run)
        artifact = build_artifact(run, repo_id=repo)
        verdict = None if outside is None else verify_folder(artifact, outside)
    if as_json:
        json.dump(export_values(artifact, verdict), sys.stdout, indent=2)
        print()
        return
    for name, size in sizes(artifact.folder).items():
        print(f"{format_size(size):>10}  {name}")
    print(f"artifact  {artifact.folder}")
    if verdict is not None:
        readers = " and ".join(verdict.readers)
        print(f"verified  {readers}: same names, logits differ by {verdict.largest_difference:.1e}")


def export_values(artifact: Artifact, verdict: Verdict | None) -> dict[str, Any]:
    """Give an artifact and what readers made of it as JSON values."""
    return {
        "folder": str(artifact.folder),
        "digest": artifact.digest,
        "files": sizes(artifact.folder),
        "verified_by": [] if verdict is None else list(verdict.readers),
        "largest_difference": None if verdict is None else verdict.largest_difference,
    }


def sizes(folder: Path) -> dict[str, int]:
    """Give the size in bytes of every file below `folder`, by its relative path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
