"""Bad input ends in one clear message, its exit code, no traceback, and nothing half-written.

The full text of each message is a file in tests/errors/cli; TMP stands for the test's folder.
"""

import io
import json
import os
import re
import socket
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from hftune.cli.main import invoke
from hftune.hub.server import running

ERRORS = Path(__file__).parent.parent / "errors" / "cli"

RECIPE = """\
run: small
model: {architecture: test_vit, pretrained: false, image_size: 32}
data:
  source: {name: image_folder, path: images}
  workers: 0
train: {length: 2 steps, batch_size: 8, precision: fp32}
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder with a recipe and two classes of small images, from which commands are typed."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for row in range(20):
            path = tmp_path / "images" / name / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    (tmp_path / "small.yaml").write_text(RECIPE)
    return tmp_path


def say(*words):
    """Type a command; give its exit code and what it said on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = invoke(list(words))
    return code, err.getvalue()


def check(name, said, place):
    """Compare the error in what was said with the kept text; log lines before it may vary."""
    assert "Traceback" not in said
    text = said[said.index("error: ") :].replace(str(place), "TMP")
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    kept = ERRORS / f"{name}.txt"
    if os.environ.get("HFTUNE_KEEP_ERRORS"):  # write the texts anew, to be read in the diff
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(text, encoding="utf-8")
    assert text == kept.read_text(encoding="utf-8")


def in_process(*words, **environment):
    """Type a command in a process of its own, whose client library reads this environment."""
    done = subprocess.run(
        [sys.executable, "-m", "hftune", *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def weights_of(architecture, **options):
    import timm

    return timm.create_model(architecture, **options).state_dict()


def truncated(place):
    save_file(weights_of("test_vit", img_size=32, num_classes=5), place / "w.safetensors")
    content = (place / "w.safetensors").read_bytes()
    (place / "w.safetensors").write_bytes(content[: len(content) // 2])
    return ["model.weights=w.safetensors", "model.pretrained=true"]


def pickled(place):
    torch.save(weights_of("test_vit", img_size=32), place / "w.pth")
    return ["model.weights=w.pth", "model.pretrained=true"]


def other_architecture(place):
    save_file(weights_of("test_resnet"), place / "w.safetensors")
    return ["model.weights=w.safetensors", "model.pretrained=true"]


def missing_weights(place):
    return ["model.weights=absent.safetensors", "model.pretrained=true"]


def empty_folder(place):
    (place / "empty").mkdir()
    return ["data.source={name: image_folder, path: empty}"]


def one_class(place):
    (place / "one" / "cat").mkdir(parents=True)
    (place / "images" / "cat" / "0.png").rename(place / "one" / "cat" / "0.png")
    return ["data.source={name: image_folder, path: one}"]


def unreadable_image(place):
    (place / "images" / "cat" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    return []


def foreign_folder(place):
    (place / "runs" / "small").mkdir(parents=True)
    (place / "runs" / "small" / "letter.txt").write_text("dear diary")
    return []


CASES = {
    "missing_folder": (2, lambda _: ["data.source={name: image_folder, path: nowhere}"]),
    "empty_folder": (2, empty_folder),
    "one_class": (2, one_class),
    "unreadable_image": (2, unreadable_image),
    "batch_does_not_divide": (2, lambda _: ["train.micro_batch_size=3"]),
    "batch_too_large": (2, lambda _: ["train.batch_size=64"]),
    "unknown_architecture": (2, lambda _: ["model.architecture=test_vitt"]),
    "unknown_selector": (2, lambda _: ["unfreeze=[{train: [head, stage.9]}]"]),
    "unknown_metric": (2, lambda _: ["eval.best=acuracy"]),
    "unfit_loss": (2, lambda _: ["loss=focal", "problem=multi_label"]),
    "truncated_weights": (2, truncated),
    "pickled_weights": (2, pickled),
    "other_architecture": (2, other_architecture),
    "missing_weights": (2, missing_weights),
    "fp16_on_a_cpu": (3, lambda _: ["train.precision=fp16"]),
    "not_a_run_folder": (2, foreign_folder),
}


@pytest.mark.parametrize("name", CASES)
def test_a_train_that_cannot_be_leaves_nothing(name, place):
    code, arrange = CASES[name]
    overrides = arrange(place)
    before = sorted(path for path in place.rglob("*"))
    exit_code, said = say("train", "small.yaml", *overrides)
    check(name, said, place)
    assert exit_code == code
    assert sorted(path for path in place.rglob("*")) == before


def test_skipping_names_and_counts_unreadable_images(place, caplog):
    unreadable_image(place)
    code, said = say("train", "small.yaml", "data.on_bad_image=skip", "--dry-run")
    assert code == 0, said
    assert "left out 1 of the 40 images" in said
    assert "3.png" in said


def test_a_run_folder_of_another_recipe_is_refused(place):
    assert say("train", "small.yaml")[0] == 0
    before = (place / "runs" / "small" / "recipe.yaml").read_bytes()
    code, said = say("train", "small.yaml", "optim.lr=0.5")
    assert code == 2
    check("other_recipe", said, place)
    assert (place / "runs" / "small" / "recipe.yaml").read_bytes() == before


def test_other_images_than_the_run_began_with_are_refused(place):
    assert say("train", "small.yaml")[0] == 0
    (place / "images" / "cat" / "0.png").rename(place / "images" / "dog" / "99.png")
    code, said = say("train", "small.yaml")
    assert code == 2
    check("other_data", said, place)


def test_a_port_in_use_is_named(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = say("hub", "serve", "--root", "hub", "--port", str(port))
    assert code == 3
    assert f"{port}" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_hub_that_cannot_help_is_one_clear_error(place):
    source = "model={repo: org/absent}"
    with running(place / "hub") as hub:
        served = hub.environment | {"HF_HOME": str(place / "cache")}
        code, said = in_process("train", "small.yaml", source, **served)
        check("missing_repository", said, place)
        assert code == 3
        reader = served | {"HF_TOKEN": hub.read_token}
        code, said = in_process("train", "small.yaml", "hub.push_to=local/x", **reader)
        check("no_permission", said, place)
        assert code == 3
        assert hub.read_token not in said
    offline = served | {"HF_HUB_OFFLINE": "1"}
    code, said = in_process("train", "small.yaml", source, **offline)
    check("offline_without_cache", said, place)
    assert code == 3
    assert not (place / "runs").exists()


def test_a_damaged_run_is_no_run(place):
    assert say("train", "small.yaml")[0] == 0
    facts = place / "runs" / "small" / "model.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"unheard": 1}))
    code, said = say("predict", "runs/small", "images/cat/0.png")
    assert code == 2
    check("damaged_run", said, place)
