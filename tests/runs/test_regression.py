"""A number per image, from a table to the published model: images and how bright they are."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

RECIPE = """\
run: bright
model: {{architecture: test_vit, pretrained: false, image_size: 32}}
data:
  source:
    name: table
    train: {images}/train.csv
    test: {images}/test.csv
    label: brightness
  val: 20%
  workers: 0
  augment: [horizontal_flip]
problem: regression
optim: {{lr: 1e-3}}
train: {{length: 4 epochs, batch_size: 8, micro_batch_size: 4, precision: fp32}}
eval: {{every: 1 epoch}}
track: {{every: 1 steps}}
"""
# The all-reduce adds the same fp32 numbers in another order; the steps of Adam amplify it.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy squares and a table of their brightness; nine test images, one a line."""
    root = tmp_path_factory.mktemp("bright")
    rng = np.random.default_rng(0)
    for split, number in (("train", 53), ("test", 9)):
        lines = ["image,brightness"]
        for row in range(number):
            level = rng.uniform(30, 225)
            pixels = rng.normal(level, 20, size=(40, 48, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"{split}-{row:03}.png")
            lines.append(f"{split}-{row:03}.png,{pixels.mean() / 255:.4f}")
        (root / f"{split}.csv").write_text("\n".join(lines) + "\n")
    (root / "bright.yaml").write_text(RECIPE.format(images=root))
    return root


@pytest.fixture(scope="module")
def trained(bright: Path, command: Callable) -> Path:
    done = command("train", str(bright / "bright.yaml"), "--output", str(bright / "one"))
    assert done.code == 0, done.err
    assert "transformers: same class names" in done.err
    return bright / "one"


def results_of(run: Path) -> dict[str, dict]:
    results = json.loads((run / "results.json").read_text())
    return {item["split"]: item for item in results["evaluations"]}


def test_it_learns_the_brightness_and_keeps_the_best_by_the_lowest_error(trained, metrics):
    found = results_of(trained)
    assert {name: item["num_examples"] for name, item in found.items()} == {"val": 11, "test": 9}
    evaluations = [line["values"]["mae"] for line in metrics(trained, "eval")]
    assert found["val"]["values"]["mae"] == pytest.approx(min(evaluations))
    # An answer that does not look at the image has an R2 of at most 0.
    assert found["test"]["values"]["r2"] > 0.5
    assert found["test"]["confusion"] == []
    assert found["test"]["per_class"] == {}


def test_the_head_starts_at_the_mean_of_the_targets(trained, metrics):
    """The first loss is about the variance of the targets, not their mean square."""
    train = json.loads((trained / "data.json").read_text())["splits"]["train"]["spread"]
    first = metrics(trained, "train")[0]["loss"]
    assert first < 3 * train["sd"] ** 2
    assert train["mean"] ** 2 + train["sd"] ** 2 > 3 * train["sd"] ** 2


def test_strangers_and_the_command_line_read_the_same_number(trained, bright, command):
    image = bright / "test-000.png"
    done = command("predict", str(trained), str(image), "--csv")
    assert done.code == 0, done.err
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert row["name"] == "brightness"

    model = timm.create_model(f"local-dir:{trained / 'artifact'}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.inference_mode(), Image.open(image) as picture:
        number = model(transform(picture.convert("RGB"))[None])[0].item()
    assert float(row["number"]) == pytest.approx(number, rel=1e-5)

    pipeline = pytest.importorskip("transformers").pipeline
    estimate = pipeline(
        "image-classification", str(trained / "artifact"), device="cpu", function_to_apply="none"
    )
    (answer,) = estimate(str(image))
    assert answer == {"label": "brightness", "score": pytest.approx(number, rel=1e-5)}


def test_the_published_model_is_judged_as_the_run_was(trained, command):
    done = command("eval", str(trained), "--json")
    assert done.code == 0, done.err
    judged = json.loads(done.out)
    assert judged["num_examples"] == 9
    assert judged["values"] == pytest.approx(results_of(trained)["test"]["values"])


def test_it_is_not_judged_on_classes(trained, write_recipe, command):
    done = command("eval", str(trained), "--data", write_recipe())
    assert done.code == 2
    assert "different problems" in done.err


def test_pictures_and_card_are_of_a_number(trained):
    assert {path.name for path in (trained / "report").glob("*.png")} == {
        "learning_curves.png", "throughput.png", "depth_rates.png", "agreement.png"
    }  # fmt: skip
    card = (trained / "artifact" / "README.md").read_text(encoding="utf-8")
    assert "one number, `brightness`" in card
    assert (trained / "artifact" / "hftune" / "agreement.png").is_file()


@pytest.mark.chaos
def test_two_processes_equal_one(trained, bright, launch_two, metrics):
    two = bright / "two"
    done = launch_two("train", str(bright / "bright.yaml"), "--output", str(two))
    assert done.code == 0, done.err
    mine, other = results_of(trained), results_of(two)
    for split, item in mine.items():
        assert other[split]["num_examples"] == item["num_examples"]
        for name, value in item["values"].items():
            assert other[split]["values"][name] == pytest.approx(value, abs=TOLERANCE)
    kept, theirs = (
        load_file(run / "predictions" / "test.safetensors")["logits"] for run in (trained, two)
    )
    assert torch.allclose(kept, theirs, atol=TOLERANCE)
    steps = [[line["step"] for line in metrics(run, "train")] for run in (trained, two)]
    assert steps[0] == steps[1]
