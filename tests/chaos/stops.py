"""Stop signals in each place of a run, on one process and on several; then the same command.

    python -m tests.chaos.stops [--processes 1] [--places download loading ...]

A real `hftune train` (or `hftune launch --num_processes N train`) pulls its backbone from a local
Hub, trains, and pushes there. It gets SIGTERM in a chosen place, has to end with 75, and has to end
in the weights of an undisturbed run when it is started again. Prints one JSON object.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

os.environ["HF_HUB_DISABLE_XET"] = "1"  # read at import; the local Hub has no xet

import timm
import torch
from timm.models import save_for_hf

from hftune.core import RepoRef
from hftune.hub.client import HubSettings
from hftune.hub.seed import seed_repo
from hftune.hub.server import running
from tests.chaos.kills import weights_of
from tests.chaos.small_run import draw_images
from tests.hub.faulty import FAULTS, FaultyHub, faulty

LONGEST_WAIT = 600.0

RECIPE = """\
run: stops
model: {repo: local/base, image_size: 32}
data:
  source: {name: image_folder, path: images}
  workers: 1
  augment: ["./slow.py:slow", {name: horizontal_flip}]
train: {length: 12 steps, batch_size: 8, micro_batch_size: 4, precision: fp32}
eval: {every: 3 steps, best: accuracy, batch_size: 1}
track: {every: 1 steps}
"""

# The first image that is loaded while a file named `pause` is there takes for ever.
SLOW = """\
import time
from pathlib import Path

HERE = Path(__file__).parent

def slow(image, rng):
    try:
        (HERE / "pause").rename(HERE / "paused")
    except FileNotFoundError:
        return image
    time.sleep(3600)
    return image
"""


@dataclass(kw_only=True)
class Scene:
    """Where it happens: folder, Hub, and how a run is started."""

    folder: Path
    hub: FaultyHub
    environment: dict[str, str]
    processes: int
    said: list[str] = field(default_factory=list)

    def start(self, run: Path) -> subprocess.Popen[bytes]:
        """Start the command, with caches of the run's own and a repository of its name."""
        launcher = ["launch", "--num_processes", str(self.processes)] if self.processes > 1 else []
        line = [
            sys.executable, "-m", "hftune", *launcher, "train", str(self.folder / "stops.yaml"),
            "--output", str(run), f"hub.push_to=local/{run.name}",
        ]  # fmt: skip
        home = {"HF_HOME": f"{run}-hf", "HFTUNE_CACHE": f"{run}-cache"}
        with Path(f"{run}.txt").open("ab") as said:
            return subprocess.Popen(
                line, env=os.environ | self.environment | home, stdout=said, stderr=said
            )

    def text(self, run: Path) -> str:
        """Give what the command has printed so far."""
        return Path(f"{run}.txt").read_text()


def wait_for(process: subprocess.Popen[bytes], seen: Callable[[], bool]) -> bool:
    """Wait until `seen`; False where the process ended first."""
    deadline = time.monotonic() + LONGEST_WAIT
    while not seen():
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def sign_of(scene: Scene, place: str, run: Path) -> Callable[[], bool]:
    """Prepare for a stop in `place`; give what says that the run is there."""
    if place == "download":
        scene.hub.spoil("get large", FAULTS["stall"])
        return lambda: scene.hub.count("get large") > 0
    if place == "loading":
        (scene.folder / "pause").touch()
        return (scene.folder / "paused").exists
    if place == "pushing":
        scene.hub.spoil("put", FAULTS["stall"])
        return lambda: scene.hub.count("put") > 0
    if place == "judging":
        return (run / "checkpoints" / "step-00000012").exists  # the last one
    step = {"training": '"step": 2,', "evaluating": '"step": 3,'}[place]
    metrics = run / "metrics.jsonl"
    return lambda: metrics.exists() and step in metrics.read_text()


PLACES = ("download", "loading", "training", "evaluating", "judging", "pushing")


def stop_in(scene: Scene, place: str, expected: dict[str, str]) -> dict[str, object]:
    """Stop a run in one place, start it again, and say how both ended."""
    run = scene.folder / f"{place}-{scene.processes}"
    process = scene.start(run)
    reached = wait_for(process, sign_of(scene, place, run))
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code = process.wait(LONGEST_WAIT)
    seconds = time.monotonic() - begun
    first = scene.text(run)
    states = [json.loads(path.read_text()) for path in (run / "checkpoints").glob("*/state.json")]
    scene.hub.heal()
    (scene.folder / "paused").unlink(missing_ok=True)
    after = scene.start(run).wait(LONGEST_WAIT)
    return {
        "place": place,
        "reached": reached,
        "code": code,
        "seconds": round(seconds, 1),
        "step": max((state["progress"]["step"] for state in states), default=None),
        "owes_evaluation": any(state["progress"]["owes_evaluation"] for state in states),
        "traceback": "Traceback" in first,
        "again": after,
        "same": after == 0 and weights_of(run) == expected,
        "said": [] if (code, after) == (75, 0) else scene.text(run).splitlines()[-12:],
        "first traceback": "".join(first.partition("Traceback")[1:]),
    }


@contextlib.contextmanager
def set_up(folder: Path, *, processes: int) -> Iterator[Scene]:
    """Draw images, seed a Hub with a backbone, and put a proxy before it."""
    draw_images(folder / "images")
    for number in range(60):  # a validation that takes a moment
        source = folder / "images" / "val" / "dark" / "000.png"
        (source.parent / f"more-{number:03}.png").write_bytes(source.read_bytes())
    (folder / "stops.yaml").write_text(RECIPE.replace("path: images", f"path: {folder / 'images'}"))
    (folder / "slow.py").write_text(SLOW)
    torch.manual_seed(0)
    module = timm.create_model("test_vit", num_classes=3, img_size=32)
    save_for_hf(module, folder / "base", safe_serialization=True, model_args={"img_size": 32})
    (folder / "base" / "pytorch_model.bin").unlink(missing_ok=True)
    with running(folder / "hub") as hub, faulty(hub.endpoint) as proxy:
        settings = HubSettings(endpoint=hub.endpoint, token=hub.write_token, cache=folder / "cache")
        seed_repo(settings, RepoRef(repo_id="local/base", folder=folder / "base"))
        environment = dict(hub.environment) | {
            "HF_ENDPOINT": proxy.endpoint, "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        yield Scene(folder=folder, hub=proxy, environment=environment, processes=processes)


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--places", nargs="+", default=PLACES, choices=PLACES)
    wanted = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="hftune-chaos-") as name,
        set_up(Path(name), processes=wanted.processes) as scene,
    ):
        first = scene.folder / "undisturbed"
        if scene.start(first).wait(LONGEST_WAIT) != 0:
            sys.exit(scene.text(first))
        expected = weights_of(first)
        found = [stop_in(scene, place, expected) for place in wanted.places]
    print(json.dumps({"processes": wanted.processes, "places": found}, indent=1))


if __name__ == "__main__":
    main()
