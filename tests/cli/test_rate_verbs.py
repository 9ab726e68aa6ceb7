"""`hftune find-lr` and `hftune recipe plot`: what they print, draw and refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hftune.cli.main import invoke

RECIPE = """\
run: small
model: {architecture: test_resnet, pretrained: false, image_size: 32}
data:
  source: {name: image_folder, path: images}
  workers: 0
optim: {lr: 1e-3, lr_batch_size: 16}
train: {length: 2 epochs, batch_size: 8, precision: fp32}
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder with a recipe and two classes that differ in brightness."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        for row in range(20):
            path = tmp_path / "images" / name / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.normal(level, 20, size=(32, 32, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path)
    (tmp_path / "small.yaml").write_text(RECIPE)
    return tmp_path


def is_picture(path):
    with Image.open(path) as image:
        return image.format == "PNG"


def test_find_lr_suggests_a_rate_and_leaves_nothing_but_its_picture(place, capsys):
    before = {path for path in place.rglob("*") if path.is_file()}
    code = invoke(
        ["find-lr", "small.yaml", "--from", "1e-6", "--to", "1", "--steps", "60", "--json",
         "--to-file", "curve.png"]
    )  # fmt: skip
    assert code == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["rates"]) == len(found["losses"]) == len(found["smoothed"]) <= 60
    assert found["rates"][0] == 1e-6
    assert 1e-5 < found["suggested"] < 0.1
    assert found["suggested"] == min(found["steepest"], found["bound"])
    # The batch is half of what the recipe's rate is stated for.
    assert found["lr"] == pytest.approx(2 * found["suggested"])
    assert {path for path in place.rglob("*") if path.is_file()} - before == {place / "curve.png"}
    assert is_picture("curve.png")


def test_find_lr_prints_the_setting_or_why_there_is_none(capsys):
    assert invoke(["find-lr", "small.yaml", "--from", "1e-6", "--steps", "60"]) == 0
    printed = capsys.readouterr().out
    assert "set optim.lr=" in printed
    assert "steepest fall" in printed
    assert invoke(["find-lr", "small.yaml", "--to", "1e-6", "--steps", "12"]) == 0
    assert "no suggestion: the loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--from", "1", "--to", "0.1"], "from 1 to 0.1: the rate has to rise"),
        (["--steps", "9"], "9 steps: give 10 or more"),
        (["--from", "0"], "lowest rate 0: give a number above zero"),
        (["--to", "inf"], "highest rate inf: give a number above zero"),
    ],
)
def test_a_range_that_cannot_be_tested_is_refused_at_once(options, said, capsys):
    assert invoke(["find-lr", "absent.yaml", *options]) == 2
    assert said in capsys.readouterr().err


def test_recipe_plot_draws_a_run_with_and_without_its_data(place, capsys):
    unfreeze = "unfreeze=[{train: [head]}, {at: 50%, train: [all], lr_factor: 0.1}]"
    assert invoke(["recipe", "plot", "small.yaml", unfreeze]) == 0
    assert capsys.readouterr().out == "small-rates.png\n"
    assert is_picture("small-rates.png")
    code = invoke(
        ["recipe", "plot", "small.yaml", unfreeze, "data.source.path=nowhere",
         "--steps-per-epoch", "100", "--to", "alone.png"]
    )  # fmt: skip
    assert code == 0
    assert is_picture("alone.png")
    assert not (place / "runs").exists()


def test_recipe_plot_reports_what_is_wrong_with_the_recipe(capsys):
    wrong = "optim.schedule={name: cosine, cycles: 0}"
    assert invoke(["recipe", "plot", "small.yaml", wrong, "--steps-per-epoch", "10"]) == 2
    assert "'cycles' of 'cosine' must be at least 1" in capsys.readouterr().err
    assert not Path("small-rates.png").exists()
