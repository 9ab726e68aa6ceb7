"""Whole runs through the real command line, each in processes of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RECIPE = """\
run: small
model: {{architecture: {architecture}, pretrained: false, image_size: 32{model}}}
data:
  source: {{name: image_folder, path: {images}}}
  workers: 0
  augment: [{{name: random_resized_crop, min_scale: 0.5}}, {{name: horizontal_flip}}]
optim: {{lr: 1e-3}}
train: {{length: 3 epochs, batch_size: 8, micro_batch_size: 4, precision: fp32}}
eval: {{every: 1 epoch, best: accuracy}}
track: {{every: 1 steps}}
"""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def hftune(*words: str, launcher: Sequence[str] = (), **environment: str) -> Done:
    """Run `python -m hftune words`, or `launcher... -m hftune words`."""
    line = [*(launcher or [sys.executable]), "-m", "hftune", *words]
    done = subprocess.run(
        line, env=os.environ | environment, capture_output=True, text=True, timeout=600, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


def two_processes(*words: str, **environment: str) -> Done:
    launcher = [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "--main_process_port", "0",
    ]  # fmt: skip
    return hftune(*words, launcher=launcher, **environment)


def read_lines(run: Path, kind: str) -> list[dict[str, object]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]


def draw_image(path: Path, rng: np.random.Generator, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.normal(level, 40, size=(40, 48, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noisy squares; 13 validation and 9 test images divide by nothing."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, number in (("train", 32), ("val", 13), ("test", 9)):
        for row in range(number):
            name, level = (("dark", 100), ("light", 150))[row % 2]
            draw_image(root / split / name / f"{row:03}.png", rng, level)
    return root


@pytest.fixture
def write_recipe(images: Path, tmp_path: Path) -> Callable[..., str]:
    def write(architecture: str = "test_vit", model: str = "") -> str:
        path = tmp_path / "small.yaml"
        path.write_text(RECIPE.format(architecture=architecture, images=images, model=model))
        return str(path)

    return write


@pytest.fixture(scope="session")
def command() -> Callable[..., Done]:
    return hftune


@pytest.fixture(scope="session")
def launch_two() -> Callable[..., Done]:
    return two_processes


@pytest.fixture(scope="session")
def metrics() -> Callable[[Path, str], list[dict[str, object]]]:
    return read_lines
