"""The app of a Space, run by gradio for real and asked by its client.

    python -m tests.export.space_demo --python ENVIRONMENT/bin/python

ENVIRONMENT holds what the Space's requirements.txt asks for; hftune is not among it. Tiny models
of every kind are pushed to a Hub on this machine with a Space each, the Space is downloaded, its
app.py is started, and its answers are compared with those of `hftune predict`. Prints a table; the
exit code is 1 where a score differs by more than 1e-6.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_DISABLE_XET"] = "1"  # read when the client is imported; the local Hub has none

import numpy as np
from huggingface_hub import snapshot_download
from PIL import Image

from hftune.hub.server import RunningHub, running
from hftune.predict import Prediction, predict
from tests.finished import write_finished_run
from tests.finished_numbers import write_finished_numbers

KINDS: dict[str, Callable[[Path], Path]] = {
    "single": write_finished_run,
    "multi": partial(write_finished_run, problem="multi_label"),
    "number": write_finished_numbers,
    "grey": partial(write_finished_run, channels=1),
}
MOST = 1e-6
_READY_SECONDS = 300
_PORT = 7861
_ASK = """
import json, sys
from gradio_client import Client, handle_file
client = Client(sys.argv[1], verbose=False)
more = [] if sys.argv[2] == "" else [float(sys.argv[2])]
for image in sys.argv[3:]:
    print(json.dumps(client.predict(handle_file(image), *more, api_name="/predict")))
"""


def draw(folder: Path) -> list[Path]:
    """Draw images of several kinds: colour, grey, transparent, turned by EXIF."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 4), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((160, 120))
    turned = Image.Exif()
    turned[0x0112] = 6
    image.convert("RGB").save(folder / "colour.png")
    image.convert("L").save(folder / "grey.png")
    image.save(folder / "transparent.png")
    image.convert("RGB").save(folder / "turned.jpg", exif=turned)
    return sorted(folder.iterdir())


@contextmanager
def app(python: str, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Give the address of a Space's app, which ends with the context."""
    settings = {"GRADIO_SERVER_PORT": str(_PORT), "GRADIO_ANALYTICS_ENABLED": "False"}
    process = subprocess.Popen(
        [python, "app.py"], cwd=folder, env=environment | settings,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    end = time.monotonic() + _READY_SECONDS
    try:
        for line in process.stdout:
            if "Running on local URL" in line:
                break
            assert time.monotonic() < end, "the app does not start"
        yield f"http://127.0.0.1:{_PORT}"
    finally:
        process.terminate()
        process.wait()


def largest_gap(kind: str, answer: object, said: Prediction) -> float:
    """Give how far a Space's answer is from a prediction; infinity where names or labels differ."""
    if kind == "number":
        return abs(float(str(answer)) - said.score)
    label = answer[0] if kind == "multi" else answer  # type: ignore[index]  # the client's JSON
    scores = {one["label"]: one["confidence"] for one in label["confidences"]}
    if kind == "multi" and answer[1].split(", ") != list(in_order(said)):  # type: ignore[index]
        return float("inf")
    if list(scores) != list(said.scores):
        return float("inf")
    return max(abs(score - said.scores[name]) for name, score in scores.items())


def in_order(said: Prediction) -> list[str]:
    """Give the labels in the order of the classes, as the app shows them."""
    return [name for name in ("bad", "good", "odd") if name in said.labels] or ["none"]


def compare(kind: str, python: str, hub: RunningHub, scratch: Path, images: list[Path]) -> float:
    """Push a model and its Space, run the app, and give the largest difference of a score."""
    environment = os.environ | hub.environment | {"HF_HOME": str(scratch / "home")}
    run = KINDS[kind](scratch / kind)
    words = ["push", str(run), f"local/{kind}", "--space", f"local/{kind}-demo"]
    subprocess.run(
        [sys.executable, "-m", "hftune", *words], env=environment, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    folder = snapshot_download(
        f"local/{kind}-demo", repo_type="space", local_dir=scratch / f"{kind}-demo",
        endpoint=hub.endpoint, token=hub.read_token,
    )  # fmt: skip
    with app(python, Path(folder), environment) as address:
        question = [address, "0.5" if kind == "multi" else "", *map(str, images)]
        done = subprocess.run(
            [python, "-c", _ASK, *question], env=environment, check=True,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    said = predict(run, images, device="cpu")
    return max(largest_gap(kind, *pair) for pair in zip(answers, said, strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", required=True)
    python = parser.parse_args().python
    print("| model | largest difference of a score |\n|---|---|", flush=True)
    gaps = []
    with tempfile.TemporaryDirectory() as scratch, running(Path(scratch) / "hub") as hub:
        images = draw(Path(scratch) / "images")
        for kind in KINDS:
            gaps.append(compare(kind, python, hub, Path(scratch), images))
            print(f"| {kind} | {gaps[-1]:.1e} |", flush=True)
    sys.exit(max(gaps) > MOST)


if __name__ == "__main__":
    main()
