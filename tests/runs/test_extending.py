"""docs/extending.md: its pieces, as they stand there, train a model."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from hftune.finetune import prepare
from hftune.recipe import load_recipe
from hftune.train.loop import train
from tests.runs.conftest import draw_image

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
MOST_LINES = 10

RECIPE = """\
run: mine
model: {architecture: test_vit, pretrained: false, image_size: 32}
train: {length: 2 epochs, batch_size: 8, precision: fp32}
track: {every: 1 steps}
loss: {name: ./parts.py:poly1, epsilon: 2.0}
optim:
  method: {name: ./parts.py:rmsprop, alpha: 0.95}
  schedule: {name: ./parts.py:triangle, top: 0.5}
data:
  source: {name: ./parts.py:pairs, folder: FOLDER}
  augment: [{name: ./parts.py:shift, most: 2}]
  val: 25%
  workers: 0
"""


def pieces() -> list[str]:
    return re.findall(
        r"```python\n# parts\.py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )


@pytest.fixture
def recipe(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(32):
        name, level = (("dark", 90), ("light", 160))[number % 2]
        draw_image(tmp_path / "cells" / f"{name}_{number:03}.png", rng, level)
    (tmp_path / "parts.py").write_text("\n\n".join(pieces()))
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE.replace("FOLDER", str(tmp_path / "cells")))
    return path


@pytest.mark.parametrize("piece", pieces(), ids=lambda piece: re.search(r"def (\w+)", piece)[1])
def test_a_piece_takes_ten_lines(piece):
    body = piece[piece.index("\ndef ") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= MOST_LINES


def test_all_pieces_train_together(recipe, command, metrics, tmp_path):
    run = tmp_path / "run"
    done = command("train", str(recipe), "--output", str(run))
    assert done.code == 0, done.err
    rates = [entry["lr"] for entry in metrics(run, "train")]
    # The triangle with its top at half of six steps, times 1e-3.
    assert rates == pytest.approx([0, 1e-3 / 3, 2e-3 / 3, 1e-3, 2e-3 / 3, 1e-3 / 3])
    newest = max((run / "checkpoints").iterdir())
    with safe_open(newest / "optimizer.safetensors", "pt") as kept:
        assert "head.weight/square_avg" in kept.keys()  # noqa: SIM118 - no mapping
    data = json.loads((run / "data.json").read_text())
    assert data["splits"]["val"]["per_class"] == {"dark": 4, "light": 4}


def test_a_run_of_own_pieces_goes_on_bit_equal(recipe, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for run, length in ((whole, "2 epochs"), (parts, "1 epoch"), (parts, "2 epochs")):
        words = [f"train.length={length}", "optim.schedule=constant"]
        prepared = prepare(load_recipe(recipe, words))
        run.mkdir(exist_ok=True)
        train(prepared.plan, prepared.model, prepared.splits, run)
    newest = [max((run / "checkpoints").iterdir()) for run in (whole, parts)]
    assert newest[0].name == newest[1].name
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (newest[0] / name).read_bytes() == (newest[1] / name).read_bytes()


def test_a_wrong_option_is_found_before_anything_runs(recipe, command, tmp_path):
    done = command(
        "train",
        str(recipe),
        "loss.epsilon=-2",
        "optim.schedule.top=1",
        "--output",
        str(tmp_path / "r"),
    )
    assert done.code == 2
    assert "2 problems" in done.err
    assert "'epsilon' of './parts.py:poly1' must be at least 0" in done.err.replace(
        str(tmp_path), "."
    )
    assert not (tmp_path / "r").exists()
