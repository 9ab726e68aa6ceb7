"""What strangers get from a published folder; each reader is a process of its own."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from hftune.core import Artifact
from hftune.errors import PublishError
from hftune.export.artifact import build_artifact, open_artifact
from hftune.export.gate import verify_folder, verify_pushed
from hftune.export.outside import Outside
from hftune.export.probe import PROBE, read_probe
from hftune.hub.client import HubSettings
from hftune.hub.push import PushTarget, push
from hftune.hub.server import RunningHub
from tests.finished import write_finished_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build_artifact(write_finished_run(tmp_path_factory.mktemp("runs") / "tiny-run"))


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    """One process for all questions that are answered."""
    with Outside() as process:
        yield process


@pytest.fixture
def broken(artifact: Artifact, tmp_path: Path) -> Artifact:
    """A copy that the test may break."""
    folder = Path(shutil.copytree(artifact.folder, tmp_path / "artifact"))
    return replace(
        artifact,
        folder=folder,
        weights=folder / "model.safetensors",
        config=folder / "config.json",
        card=folder / "README.md",
    )


def change_config(artifact: Artifact, **block: object) -> None:
    config = json.loads(artifact.config.read_text(encoding="utf-8"))
    config["pretrained_cfg"].update(block)
    artifact.config.write_text(json.dumps(config), encoding="utf-8")


def test_timm_and_transformers_get_the_same_names_and_logits(artifact, outside):
    verdict = verify_folder(artifact, outside)
    assert verdict.readers == ("timm", "transformers")
    assert verdict.largest_difference <= 1e-5


def test_a_grey_model_is_read_by_timm_alone(tmp_path, outside):
    run = write_finished_run(tmp_path / "grey", channels=1)
    verdict = verify_folder(build_artifact(run), outside)
    assert verdict.readers == ("timm",)
    assert verdict.largest_difference <= 1e-5


def test_other_weights_are_noticed(broken, outside):
    weights = load_file(broken.weights)
    weights["fc.bias"] += 1e-3
    save_file(weights, broken.weights)
    with pytest.raises(PublishError, match="other logits than the trained model"):
        verify_folder(broken, outside)


def test_another_transform_is_noticed(broken, outside):
    change_config(broken, crop_pct=0.9)
    with pytest.raises(PublishError, match="other logits"):
        verify_folder(broken, outside)


def corrupt(artifact: Artifact) -> None:
    weights = load_file(artifact.weights)
    weights["conv1.0.weight"] *= -1.5
    save_file(weights, artifact.weights)


def swap_labels(artifact: Artifact) -> None:
    config = json.loads(artifact.config.read_text(encoding="utf-8"))
    config["label_names"][:2] = reversed(config["label_names"][:2])
    artifact.config.write_text(json.dumps(config), encoding="utf-8")


DAMAGE = {
    "a corrupted tensor": (corrupt, "weights: 1 of 92 tensors are others: conv1.0.weight"),
    "swapped labels": (
        swap_labels,
        "classes: class 0 is 'good', was 'bad', class 1 is 'bad', was 'good'",
    ),
    "a changed crop": (
        lambda artifact: change_config(artifact, crop_pct=1.0),
        "resize and crop: crop_pct is 1.0, was 0.875",
    ),
    "a changed interpolation": (
        lambda artifact: change_config(artifact, interpolation="bilinear"),
        "resize and crop: interpolation is bilinear, was bicubic",
    ),
    "a changed mean": (
        lambda artifact: change_config(artifact, mean=[0.4, 0.5, 0.5]),
        "normalisation: mean is [0.4, 0.5, 0.5], was [0.5, 0.5, 0.5]",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_the_gate_names_what_is_not_as_it_was(name, broken, outside):
    damage, cause = DAMAGE[name]
    damage(broken)
    with pytest.raises(PublishError) as caught:
        verify_folder(broken, outside)
    assert cause in caught.value.found.splitlines()


def test_a_licence_that_is_nobodys_is_refused(broken):
    card = broken.card.read_text(encoding="utf-8")
    broken.card.write_text(card.replace("license: apache-2.0", "license: mit"), encoding="utf-8")
    with pytest.raises(PublishError) as caught:
        open_artifact(broken.folder)
    assert "README.md states license: mit, but the run's is apache-2.0" in caught.value.found
    assert "hub.license" in caught.value.found


def test_t1_a_class_count_among_the_options_stops_transformers(broken):
    config = json.loads(broken.config.read_text(encoding="utf-8"))
    config["model_args"] = {"num_classes": 3}
    broken.config.write_text(json.dumps(config), encoding="utf-8")
    with Outside() as outside, pytest.raises(PublishError) as caught:
        outside.ask("transformers", str(broken.folder), broken.folder / PROBE)
    assert caught.value.problem == "transformers cannot load this model"
    assert "num_classes" in caught.value.found


def test_a_pushed_commit_is_compared_from_an_empty_cache(artifact, outside, local_hub, tmp_path):
    settings = settings_for(local_hub, tmp_path)
    target = PushTarget(repo_id="local/verified")
    pushed = push(artifact.folder, target, message="Publish", settings=settings)
    # The folder on this machine plays no part: what is compared comes from the Hub.
    verdict = verify_pushed(pushed, artifact, outside, settings=settings)
    assert verdict.largest_difference <= 1e-5
    assert not (tmp_path / "cache").exists()


def test_a_commit_with_other_weights_is_noticed(artifact, outside, broken, local_hub, tmp_path):
    settings = settings_for(local_hub, tmp_path)
    weights = load_file(broken.weights)
    weights["fc.weight"] = weights["fc.weight"].flip(0)
    save_file(weights, broken.weights)
    target = PushTarget(repo_id="local/swapped")
    pushed = push(broken.folder, target, message="Publish", settings=settings)
    with pytest.raises(PublishError, match="other logits"):
        verify_pushed(pushed, artifact, outside, settings=settings)


# T14: the Hub's own example for timm names a retired key and a path that is gone.
def test_t14_the_examples_in_the_card_run_as_they_stand(tmp_path, local_hub):
    settings = settings_for(local_hub, tmp_path)
    target = PushTarget(repo_id="local/by-name")
    run = write_finished_run(tmp_path / "runs" / "by-name")
    artifact = build_artifact(run, repo_id=target.repo_id)
    push(artifact.folder, target, message="Publish", settings=settings)
    probe = read_probe(artifact.folder / PROBE)
    probe.images[0].save(tmp_path / "image.jpg", quality=100)
    blocks = re.findall(r"```python\n(.*?)```", artifact.card.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 2
    environment = os.environ | {
        "HF_ENDPOINT": settings.endpoint,
        "HF_TOKEN": str(settings.token),
        "HF_HOME": str(tmp_path / "home"),
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *by_timm, by_transformers = done.stdout.strip().splitlines()
    answer = ast.literal_eval(by_transformers)
    assert by_timm == [f"{row['label']}: {row['score']:.3f}" for row in answer]
    trained = probe.logits[0].softmax(0)
    for row in answer:  # the JPEG differs a little from the probe's image
        kept = float(trained[["bad", "good", "odd"].index(row["label"])])
        assert row["score"] == pytest.approx(kept, abs=0.02)


def settings_for(hub: RunningHub, folder: Path) -> HubSettings:
    return HubSettings(endpoint=hub.endpoint, token=hub.write_token, cache=folder / "cache")
