"""`hftune pull REPO`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from hftune.core import RepoRef
from hftune.hub.pull import pull
from hftune.hub.ref import parse_ref
from hftune.units import format_size


def command(
    repo: Annotated[str, typer.Argument(help="org/name or org/name@revision on the Hub.")],
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit; default: main.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="A new folder for a copy outside the cache.")
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(help="Only these files, by name or pattern; may be given several times."),
    ] = None,
    dataset: Annotated[
        bool, typer.Option("--dataset", help="REPO is a data set, not a model.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Bring a repository here, whole and verified, for work without a network."""
    wanted = parse_ref(repo, kind="dataset" if dataset else "model", revision=revision)
    print_pulled(pull(wanted, files=file or None, to=to), as_json=as_json)


def print_pulled(ref: RepoRef, *, as_json: bool) -> None:
    """Print the commit, the folder, and what lies there."""
    assert ref.folder is not None
    sizes = {
        path.relative_to(ref.folder).as_posix(): path.stat().st_size
        for path in sorted(ref.folder.rglob("*"))
        if path.is_file()
    }
    if as_json:
        values = {
            "repo_id": ref.repo_id,
            "revision": ref.revision,
            "commit": ref.commit,
            "folder": str(ref.folder),
            "files": [{"path": path, "size": size} for path, size in sizes.items()],
        }
        json.dump(values, sys.stdout, indent=2)
        print()
        return
    for path, size in sizes.items():
        print(f"{format_size(size):>10}  {path}")
    if ref.commit is not None:
        print(f"commit  {ref.commit}")
    print(f"folder  {ref.folder}")
