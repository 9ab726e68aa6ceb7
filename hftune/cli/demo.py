"""`hftune demo`: the whole job on real images, each step a command that one can type oneself."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from hftune.errors import AbilityError
from hftune.units import format_duration

REPO = "local/elpv-lite0-demo"
NUM_PICTURES = 3
QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}


def command(
    folder: Annotated[
        Path, typer.Option(help="Where the Hub, the run and the caches of the demo go.")
    ] = Path("demo"),
    recipe: Annotated[str, typer.Option(help="The recipe to train.")] = "demo",
) -> None:
    """Serve a Hub, seed it, train, push, pull, predict; then stop the Hub."""
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    with serving(folder / "hub") as client:
        mine = client | {"HF_HOME": str(folder.resolve() / "cache")}
        strangers = client | {"HF_HOME": str(folder.resolve() / "other-cache")}
        step("seed the Hub: an ImageNet backbone and the ELPV solar cells")
        run(["hub", "seed", "--folder", str(folder / "images")], mine)
        step("train, package, push, and verify what was pushed")
        run(["train", recipe, f"hub.push_to={REPO}", "--output", str(folder / "run")], mine)
        step("pull the pushed model into an empty cache, as a stranger would")
        run(["pull", REPO, "--to", str(folder / "pulled")], strangers)
        step("label three test images with it")
        run(["predict", REPO, *map(str, pictures(folder / "images" / "test"))], strangers)
    print_places(folder, seconds=time.monotonic() - started)


@contextmanager
def serving(root: Path) -> Iterator[dict[str, str]]:
    """Run the local Hub beside us and give the environment that its clients need."""
    step("start a Hub on this machine")
    words = ["hub", "serve", "--root", str(root), "--port", "0", "--json"]
    say(words)
    server = subprocess.Popen(
        [sys.executable, "-m", "hftune", *words], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        if not line:
            raise AbilityError("the local Hub did not start", found=f"exit code {server.wait()}")
        environment: dict[str, str] = json.loads(line)["environment"]
        print(f"the Hub listens on {environment['HF_ENDPOINT']}", flush=True)
        yield dict(os.environ) | environment | QUIET
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)
        server.stdout.close()


def run(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Show and run one hftune command; a failure ends the demo with that command's exit code."""
    say(words)
    code = subprocess.call([sys.executable, "-m", "hftune", *words], env=dict(environment))
    if code:
        raise typer.Exit(code)


def pictures(folder: Path) -> list[Path]:
    """Give a few images, spread over the classes."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    chosen = []
    for position in range(NUM_PICTURES):
        images = sorted(classes[position % len(classes)].iterdir())
        chosen.append(images[position * len(images) // NUM_PICTURES])
    return chosen


def step(text: str) -> None:
    """Announce a step."""
    print(f"\n== {text}", flush=True)


def say(words: Sequence[str]) -> None:
    """Show a command as one would type it."""
    print(f"$ hftune {shlex.join(words)}", flush=True)


def print_places(folder: Path, *, seconds: float) -> None:
    """Print where everything lies."""
    pushed = json.loads((folder / "run" / "pushed.json").read_text(encoding="utf-8"))
    step(f"done in {format_duration(seconds)}")
    rows = {
        "pushed commit": f"{pushed['repo_id']} at {pushed['commit']}",
        "logits": f"pushed against trained, largest difference {pushed['logit_gap']:g}",
        "the run": folder / "run",
        "pictures": folder / "run" / "report",
        "the artifact": folder / "run" / "artifact",
        "as pulled": folder / "pulled",
        "images": folder / "images",
        "the Hub": f"{folder / 'hub'} (start it again: hftune hub serve --root {folder / 'hub'})",
    }
    for name, text in rows.items():
        print(f"{name:<14} {text}")
