"""`hftune push RUN [REPO]`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hftune.errors import RequestError, RunFolderError
from hftune.hub.push import PushPlan, PushTarget, check_push, plan_push
from hftune.recipe import load_recipe
from hftune.recipe.schema import Recipe
from hftune.units import format_size

if TYPE_CHECKING:
    from hftune.export.publish import Published


def command(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    repo: Annotated[
        str | None, typer.Argument(help="org/name on the Hub; default: the recipe's hub.push_to.")
    ] = None,
    private: Annotated[
        bool | None,
        typer.Option(
            "--private/--public",
            help="Only for a repository that this push creates; default: the recipe's.",
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch to push to, made if missing; default: the recipe's.")
    ] = None,
    message: Annotated[str | None, typer.Option(help="First line of the commit.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show files, sizes and card; send nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Publish a run as one commit, pull it back and compare; safe to do twice."""
    recipe = read_recipe(run)
    target = choose_target(recipe, repo, private=private, revision=revision)
    words = message or f"Fine-tune {recipe.run} with hftune"
    if not dry_run:
        check_push(target)
    # These load torch, which takes seconds: only once the request is right.
    from hftune.export.artifact import build_artifact
    from hftune.export.outside import Outside
    from hftune.export.publish import publish

    artifact = build_artifact(run, repo_id=target.repo_id)
    if dry_run:
        plan = plan_push(artifact.folder, target, message=words)
        print_plan(plan, card=artifact.card.read_text(encoding="utf-8"), as_json=as_json)
        return
    with Outside() as outside:
        published = publish(artifact, target, outside, run=run, message=words)
    print_published(published, as_json=as_json)


def read_recipe(run: Path) -> Recipe:
    """Read the resolved recipe of a run. Raises RunFolderError, RecipeError."""
    path = run / "recipe.yaml"
    if not path.is_file():
        raise RunFolderError(
            "this is not the folder of a run: it has no recipe.yaml",
            where=str(run),
            remedy="name the folder that 'hftune train' wrote, such as runs/NAME",
        )
    return load_recipe(path)


def choose_target(
    recipe: Recipe, repo: str | None, *, private: bool | None, revision: str | None
) -> PushTarget:
    """Give the target: what was asked for, and the recipe's word on the rest."""
    repo_id = repo or recipe.hub.push_to
    if repo_id is None:
        raise RequestError(
            "where to push to is not said",
            remedy="name a repository: hftune push RUN org/name; or set hub.push_to in the recipe",
        )
    return PushTarget(
        repo_id=repo_id,
        private=recipe.hub.private if private is None else private,
        revision=revision or recipe.hub.revision,
    )


def print_plan(plan: PushPlan, *, card: str, as_json: bool) -> None:
    """Print what would be created and sent, then the card."""
    if as_json:
        json.dump(plan_values(plan), sys.stdout, indent=2)
        print()
        return
    target = plan.target
    visibility = "private" if target.private else "public"
    creates = {
        "repository": f"creates the {visibility} repository, ",
        "branch": "creates the branch, ",
        None: "",
    }[plan.creates]
    print(f"{target.repo_id} at {target.revision}: {creates}one commit '{plan.message}'")
    for file in plan.files:
        state = "unchanged" if file.unchanged else "sends"
        print(f"{state:<10} {format_size(file.size):>10}  {file.path}")
    print(f"{'in all':<10} {format_size(plan.total):>10}  {len(plan.files)} files")
    if plan.unchanged:
        print("The branch holds all of this already: a push would make no commit.")
    print(f"\n{card}")
    print("Nothing was sent.")


def plan_values(plan: PushPlan) -> dict[str, Any]:
    """Give a plan as JSON values."""
    return {
        "repo_id": plan.target.repo_id,
        "revision": plan.target.revision,
        "private": plan.target.private,
        "creates": plan.creates,
        "parent": plan.parent,
        "message": plan.message,
        "unchanged": plan.unchanged,
        "total": plan.total,
        "files": [
            {"path": file.path, "size": file.size, "unchanged": file.unchanged}
            for file in plan.files
        ],
    }


def print_published(published: "Published", *, as_json: bool) -> None:
    """Print the commit, and how the pulled-back model compares."""
    ref = published.ref
    if as_json:
        values = {
            "repo_id": ref.repo_id,
            "revision": ref.revision,
            "commit": ref.commit,
            "logit_gap": published.logit_gap,
        }
        json.dump(values, sys.stdout, indent=2)
        print()
        return
    print(f"pushed    {ref.repo_id} at {ref.revision}, commit {ref.commit}")
    print(f"verified  pulled into an empty cache; logits differ by {published.logit_gap:.1e}")
