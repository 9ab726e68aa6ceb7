"""`hftune export RUN`, and with --onnx or --torch a graph of any published model."""

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from hftune.convert import convert
from hftune.core import Artifact
from hftune.export.artifact import build_artifact
from hftune.export.gate import Verdict, verify_folder
from hftune.export.graph import Form, Graph
from hftune.export.outside import Outside
from hftune.report.plots import draw_report
from hftune.units import format_size


def command(
    thing: Annotated[
        str,
        typer.Argument(
            help="A finished run's folder; for graphs also an artifact folder or a repository."
        ),
    ],
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
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx instead.")] = False,
    onnx_fp16: Annotated[
        bool, typer.Option("--onnx-fp16", help="Write model_fp16.onnx, half the size.")
    ] = False,
    onnx_int8: Annotated[
        bool,
        typer.Option("--onnx-int8", help="Write model_int8.onnx, measured on the model's images."),
    ] = False,
    torch: Annotated[
        bool, typer.Option("--torch", help="Write model.pt2, for torch.export.load.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(help="Folder for graphs; default: RUN/exported, or ./exported."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Recipe whose images --onnx-int8 takes; default: its own."),
    ] = None,
    trust_code: Annotated[
        bool,
        typer.Option("--trust-code", help="Run code that the recipe in an artifact or repo names."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Build the folder that is published, or graphs that run without hftune and timm.

    The folder holds weights, config, card, recipe, record and probe. Graphs take any number of
    images; each is compared with the model before it is kept.
    """
    wanted: dict[Form, bool] = {
        "onnx": onnx, "onnx-fp16": onnx_fp16, "onnx-int8": onnx_int8, "torch": torch
    }  # fmt: skip
    forms = [form for form, is_wanted in wanted.items() if is_wanted]
    if forms:
        graphs = convert(thing, forms, to=to, data=data, trust_code=trust_code)
        say_graphs(graphs, as_json=as_json)
    else:
        build(Path(thing), repo, verify=verify, as_json=as_json)


def build(run: Path, repo: str | None, *, verify: bool, as_json: bool) -> None:
    """Build, verify and tell of the folder that is published."""
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


def say_graphs(graphs: Sequence[Graph], *, as_json: bool) -> None:
    """Print where graphs lie and how they compare with the model."""
    if as_json:
        values = [
            {**asdict(one), "path": str(one.path), "size": one.path.stat().st_size}
            for one in graphs
        ]
        json.dump(values, sys.stdout, indent=2)
        print()
        return
    for one in graphs:
        print(
            f"{format_size(one.path.stat().st_size):>10}  {one.path}: logits differ by at most"
            f" {one.gap:.1e}, the same answer for {one.same:.1%} of {one.images} images"
        )


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
