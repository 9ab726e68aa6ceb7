"""`hftune pull REPO` and `hftune pull --recipe FILE [key=value ...]`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hftune.core import RepoRef
from hftune.errors import RequestError
from hftune.hub.pull import pull
from hftune.hub.ref import parse_ref
from hftune.recipe import load_recipe
from hftune.units import format_size


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REPO",
            help="org/name or org/name@revision on the Hub. After --recipe: key.path=value.",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Bring all that this recipe needs, in place of REPO."),
    ] = None,
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
    """Bring a repository, or all that a recipe needs, here: whole, verified, for work offline."""
    given = words or []
    if recipe is not None:
        _refuse_beside_recipe({"--revision": revision, "--to": to, "--file": file})
        print_fetched(recipe, given, as_json=as_json)
        return
    if len(given) != 1:
        raise RequestError(
            "it is not clear what to bring here",
            found=" ".join(given) or "nothing",
            allowed="one repository, such as org/name; or --recipe FILE with its settings",
        )
    wanted = parse_ref(given[0], kind="dataset" if dataset else "model", revision=revision)
    print_pulled(pull(wanted, files=file or None, to=to), as_json=as_json)


def print_fetched(recipe: str, overrides: Sequence[str], *, as_json: bool) -> None:
    """Bring what a recipe needs here, and print each thing with its commit and size."""
    from hftune.fetch import Need, fetch_recipe  # may load `datasets`, which takes a second

    def shown(need: Need) -> str:
        if need.place == "local":
            return "local"
        if need.place == "network":
            return "needs a network: set it to null, 'hftune push' later"
        return f"{need.files} files, {format_size(need.size)}, commit {need.commit}"

    needs = fetch_recipe(load_recipe(recipe, overrides))
    if as_json:
        json.dump({"recipe": recipe, "needs": [need.to_json() for need in needs]}, sys.stdout)
        print()
        return
    longest = max((len(need.setting) for need in needs), default=0)
    width = max((len(need.name) for need in needs), default=0)
    for need in needs:
        print(f"{need.setting:<{longest}}  {need.name:<{width}}  {shown(need)}")
    if not any(need.place == "hub" for need in needs):
        print("this recipe takes nothing from the Hub")


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


def _refuse_beside_recipe(options: dict[str, object]) -> None:
    """Raise RequestError for options of a single repository."""
    given = [name for name, value in options.items() if value]
    if given:
        raise RequestError(
            "a recipe says itself what is needed, and where it is looked for",
            found=f"{', '.join(given)} beside --recipe",
            remedy="leave this out, or pull one repository by its name",
        )
