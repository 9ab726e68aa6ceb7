"""`hftune hub serve / ls / seed`."""

import json
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hftune.hub.server import RunningHub

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A small local Hub for demos, tests and offline machines; otherwise use the real one.",
)

DEFAULT_PORT = 8765

Root = Annotated[
    Path,
    typer.Option(envvar="HFTUNE_HUB", help="The folder the Hub lives in; made if absent."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

DEFAULT_ROOT = Path("~/.local/share/hftune/hub")


@app.command()
def serve(
    root: Root = DEFAULT_ROOT,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = DEFAULT_PORT,
    open_to_network: Annotated[
        bool, typer.Option("--open-to-network", help="Allow a --host that others can reach.")
    ] = False,
    user: Annotated[
        str, typer.Option(help="Owner of the tokens made at the first start.")
    ] = "local",
    as_json: AsJson = False,
) -> None:
    """Serve a Hub until Ctrl-C; prints the variables that a client needs."""
    from hftune.cli.network import check_host
    from hftune.hub.server import serve as serve_hub

    check_host(
        host,
        open_to_network=open_to_network,
        problem="at this address others could reach the Hub, and tokens would travel in the clear",
        remedy="for a network that you trust, add --open-to-network",
    )
    show = print_json if as_json else print_exports
    serve_hub(root.expanduser(), host=host, port=port, user=user, ready=show)


@app.command()
def ls(root: Root = DEFAULT_ROOT, as_json: AsJson = False) -> None:
    """List the repositories in a local Hub's folder, served or not."""
    from hftune.hub.server.summary import summarise
    from hftune.units import format_size

    rows = summarise(root.expanduser())
    if as_json:
        json.dump([row.as_dict() for row in rows], sys.stdout, indent=2)
        print()
        return
    print(f"{'kind':<8} {'visibility':<10} {'revision':<12} {'files':>6} {'size':>10}  repository")
    for row in rows:
        size = format_size(row.num_bytes)
        print(
            f"{row.kind:<8} {row.visibility:<10} {row.revision[:12]:<12} {row.num_files:>6}"
            f" {size:>10}  {row.repo_id}"
        )


@app.command()
def seed(
    endpoint: Annotated[
        str | None, typer.Option(help="Address of the local Hub; default: HF_ENDPOINT.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Write the images here as well, as train/CLASS, test/CLASS.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put an ImageNet backbone and the ELPV solar cells on a local Hub."""
    # Read by the client libraries when they are imported, below.
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from dataclasses import replace

    from hftune.core import RepoRef
    from hftune.hub.client import settings_from_environment
    from hftune.hub.seed import require_local, seed_repo

    settings = settings_from_environment()
    if endpoint is not None:
        settings = replace(settings, endpoint=endpoint)
    require_local(settings.endpoint)

    from hftune.data import seed_elpv  # these import torch, so only once the request is right
    from hftune.model import seed_backbone

    with tempfile.TemporaryDirectory() as scratch:
        backbone, cells = Path(scratch, "backbone"), Path(scratch, "cells")
        seed_backbone.write_backbone(backbone)
        seed_elpv.write_dataset(cells)
        seeded = [
            seed_repo(settings, RepoRef(repo_id=seed_backbone.REPO_ID, folder=backbone)),
            seed_repo(settings, RepoRef(kind="dataset", repo_id=seed_elpv.REPO_ID, folder=cells)),
        ]
    if folder is not None:
        seed_elpv.write_image_folder(folder)
    if as_json:
        found = {one.ref.repo_id: one.ref.commit for one in seeded}
        print(json.dumps({"repos": found, "folder": str(folder) if folder else None}))
        return
    for one in seeded:
        state = "seeded" if one.is_new else "unchanged"
        print(f"{state:<10} {one.ref.kind:<8} {one.ref.repo_id} at {one.ref.commit}")
    if folder is not None:
        print(f"{'images':<10} {'folder':<8} {folder}")
    print("next: hftune train elpv-lite0")


def print_exports(hub: "RunningHub") -> None:
    """Print the shell lines that point a client to the Hub."""
    print(f"# a local Hub at {hub.endpoint}, kept in {hub.root}; stop it with Ctrl-C")
    print(f"# user {hub.user}; a token that only reads: {hub.read_token}")
    for name, value in hub.environment.items():
        print(f"export {name}={shlex.quote(value)}")
    sys.stdout.flush()


def print_json(hub: "RunningHub") -> None:
    """Print address, user, tokens and environment as one line of JSON."""
    facts = {
        "endpoint": hub.endpoint,
        "root": str(hub.root),
        "user": hub.user,
        "read_token": hub.read_token,
        "environment": hub.environment,
    }
    print(json.dumps(facts), flush=True)
