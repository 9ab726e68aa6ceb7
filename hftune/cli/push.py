"""`hftune push RUN [REPO]`, and `hftune push REPO --space SPACE` of what is published."""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hftune.core import RepoRef
from hftune.errors import RequestError, RunFolderError
from hftune.files import user_path
from hftune.hub.contents import CARD
from hftune.hub.proposal import opens_pull
from hftune.hub.pull import pull
from hftune.hub.push import PushTarget, check_push
from hftune.hub.push_plan import PushPlan, plan_push
from hftune.hub.tags import check_tag, give_tag
from hftune.recipe import load_recipe
from hftune.recipe.schema import Recipe
from hftune.units import format_size

if TYPE_CHECKING:
    from hftune.export.publish import Published
    from hftune.export.space import PushedSpace


def command(
    thing: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A finished run's folder; with --space also a repository."
        ),
    ],
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
    tag: Annotated[
        str | None, typer.Option(help="A tag for the commit, such as v1.0; it never moves.")
    ] = None,
    propose: Annotated[
        bool, typer.Option("--pr", help="Propose it in a pull request, to a repository of others.")
    ] = False,
    space: Annotated[
        str | None,
        typer.Option(help="A Space too, org/name, with a page that shows the model."),
    ] = None,
    message: Annotated[str | None, typer.Option(help="First line of the commit.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show files, sizes and card; send nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Publish a run as one commit, pull it back and compare; safe to do twice."""
    if space is not None and not user_path(thing).is_dir():
        given = {"REPO": repo, "--revision": revision, "--tag": tag, "--message": message}
        refuse_beside_published({**given, "--pr": propose or None})
        show_published(thing, space_target(space, private), dry_run=dry_run, as_json=as_json)
        return
    if propose:
        refuse_beside_proposal({"--revision": revision, "--tag": tag, "--space": space})
    run = user_path(thing)
    recipe = read_recipe(run)
    target = choose_target(recipe, repo, private=private, revision=revision)
    if propose:
        target = PushTarget(repo_id=target.repo_id, private=target.private, pull_request=True)
    demo = None if space is None else space_target(space, target.private)
    words = message or f"Fine-tune {recipe.run} with hftune"
    if tag is not None:
        check_tag(tag)
    if propose or not dry_run:
        check_push(target)
    if demo is not None and not dry_run:
        check_push(demo)
    # These load torch, which takes seconds: only once the request is right.
    from hftune.export.artifact import build_artifact
    from hftune.export.outside import Outside
    from hftune.export.publish import publish
    from hftune.export.space import push_space

    artifact = build_artifact(run, repo_id=target.repo_id, revision=target.revision)
    if dry_run:
        plan = plan_push(artifact.folder, target, message=words)
        print_plan(plan, card=artifact.card.read_text(encoding="utf-8"), as_json=as_json)
        if demo is not None and not as_json:
            print(f"The Space {demo.repo_id} would follow, which shows the commit.")
        return
    with Outside() as outside:
        published = publish(artifact, target, outside, run=run, message=words)
    if tag is not None:
        give_tag(published.ref, tag)
    pushed = None if demo is None else push_space(published.ref, demo)
    print_published(published, pushed, as_json=as_json)


def refuse_beside_proposal(options: Mapping[str, object]) -> None:
    """Raise RequestError for what a proposal has to wait with until it is taken."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise RequestError(
            "a pull request proposes to the main branch, and stands nowhere until it is merged",
            found=f"--pr and {' and '.join(given)}",
            remedy="leave it out, and do it once the pull request is merged",
        )


def refuse_beside_published(options: Mapping[str, object]) -> None:
    """Raise RequestError for what has no meaning where the model is not pushed."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise RequestError(
            "the model is published already, and only its Space is pushed",
            found=" and ".join(given),
            remedy="leave it out, or name the folder of a run first",
        )


def space_target(space: str, private: bool | None) -> PushTarget:
    """Give where the Space goes: private unless told otherwise, as a model."""
    return PushTarget(kind="space", repo_id=space, private=private is not False)


def show_published(thing: str, target: PushTarget, *, dry_run: bool, as_json: bool) -> None:
    """Publish a Space that shows a model of the Hub, or say what that would do."""
    if not dry_run:
        check_push(target)
    from hftune.export.space import plan_space, push_space  # load torch, as above

    model = pull(thing)
    if dry_run:
        with tempfile.TemporaryDirectory(prefix="hftune-space-") as scratch:
            plan = plan_space(model, target, Path(scratch) / "space")
            card = (plan.folder / CARD).read_text(encoding="utf-8")
        print_plan(plan, card=card, as_json=as_json)
        return
    pushed = push_space(model, target)
    if as_json:
        print_json(space_values(pushed))
    else:
        print_space(pushed)


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
        print_json(plan_values(plan))
        return
    target = plan.target
    visibility = "private" if target.private else "public"
    creates = {
        "repository": f"creates the {visibility} repository, ",
        "branch": "creates the branch, ",
        None: "",
    }[plan.creates]
    if opens_pull(target):
        creates = "opens a pull request, "
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


def print_published(published: "Published", space: "PushedSpace | None", *, as_json: bool) -> None:
    """Print the commit, how the pulled-back model compares, and the Space if there is one."""
    ref = published.ref
    if as_json:
        values = {**ref_values(ref), "logit_gap": published.logit_gap}
        print_json(values if space is None else {**values, "space": space_values(space)})
        return
    print(f"pushed    {ref.repo_id} at {ref.revision}, commit {ref.commit}")
    print(f"verified  pulled into an empty cache; logits differ by {published.logit_gap:.1e}")
    if space is not None:
        print_space(space)


def print_space(space: "PushedSpace") -> None:
    """Print a Space's commit, and what in it is no longer hftune's."""
    print(f"space     {space.ref.repo_id}, commit {space.ref.commit}")
    if space.kept:
        print(f"kept      as it was changed there: {', '.join(space.kept)}")


def space_values(space: "PushedSpace") -> dict[str, Any]:
    """Give a Space as JSON values."""
    return {**ref_values(space.ref), "kept": list(space.kept)}


def ref_values(ref: RepoRef) -> dict[str, Any]:
    """Give a pushed revision as JSON values."""
    return {"repo_id": ref.repo_id, "revision": ref.revision, "commit": ref.commit}


def print_json(values: Mapping[str, Any]) -> None:
    """Print values as indented JSON."""
    json.dump(values, sys.stdout, indent=2)
    print()
