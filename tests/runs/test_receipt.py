"""A run with frozen stages through a Hub: receipt, the program in its card, a changed weight."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

from hftune.hub.server import RunningHub
from hftune.train.receipt import hash_tensors

pytestmark = pytest.mark.slow

BASE, RESULT = "receipts/base", "receipts/result"

RECIPE = """\
run: receipt
model: {{repo: {base}, image_size: 32}}
data: {{source: {{name: image_folder, path: {images}}}, workers: 0}}
optim: {{lr: 0.05, method: sgd, ema: 0.9}}
freeze: {{stages: 3, batch_norm: {batch_norm}}}
unfreeze: [{{at: 0%, train: [head, stage.-1]}}, {{at: 50%, train: [all]}}]
train: {{length: 2 epochs, batch_size: 8, precision: fp32}}
hub: {{push_to: {result}}}
"""


@dataclass(frozen=True)
class Published:
    run: Path
    base: dict[str, torch.Tensor]
    environment: dict[str, str]

    @property
    def receipt(self) -> dict[str, dict[str, dict[str, object]]]:
        return json.loads((self.run / "receipt.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def publish(
    local_hub: RunningHub,
    images: Path,
    command: Callable[..., object],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Published]:
    """Train with frozen stages from a base on the Hub, and push the result."""
    root = tmp_path_factory.mktemp("receipt")
    torch.manual_seed(1)
    module = timm.create_model("test_resnet", num_classes=4)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.rand_like(tensor) * 0.01)
    save_for_hf(module, root / "base", safe_serialization=True)
    api = HfApi(endpoint=local_hub.endpoint, token=local_hub.write_token)
    api.create_repo(BASE)
    api.upload_folder(repo_id=BASE, folder_path=root / "base")

    def train(batch_norm: str) -> Published:
        recipe = root / f"{batch_norm}.yaml"
        result = f"{RESULT}-{batch_norm}"
        text = RECIPE.format(base=BASE, images=images, batch_norm=batch_norm, result=result)
        recipe.write_text(text, encoding="utf-8")
        environment = local_hub.environment | {"HF_HOME": str(root / "hf")}
        run = root / f"run-{batch_norm}"
        done = command("train", str(recipe), "--output", str(run), **environment)
        assert done.code == 0, done.err
        return Published(
            run=run, base=load_file(root / "base" / "model.safetensors"), environment=environment
        )

    return train


@pytest.fixture(scope="module")
def published(publish: Callable[[str], Published]) -> Published:
    return publish("statistics")


def test_the_receipt_holds_what_stayed_the_bases_bit_for_bit(published):
    weights = load_file(published.run / "artifact" / "model.safetensors")
    same = {
        name
        for name, tensor in published.base.items()
        if tensor.shape == weights[name].shape and torch.equal(tensor, weights[name])
    }
    frozen = published.receipt["frozen"]
    assert {"conv1.0.weight", "bn1.running_mean", "bn1.num_batches_tracked"} <= frozen.keys()
    assert not any(name.startswith(("layer4", "fc")) for name in frozen)
    assert frozen.keys() <= same
    expected = hash_tensors(published.base, frozen)
    assert {name: record["before"] for name, record in frozen.items()} == expected
    assert {name: record["after"] for name, record in frozen.items()} == expected
    assert all(record["from_base"] and record["same"] for record in frozen.values())
    trained = [name for name in weights if name.startswith("layer4")]
    assert not same & set(trained)


def test_the_program_in_the_card_finds_every_frozen_tensor_the_same(published):
    card = (published.run / "artifact" / "README.md").read_text(encoding="utf-8")
    section = card[card.index("## Frozen layers") :]
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert block is not None
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", block[1]],
        env=os.environ | published.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    number = len(published.receipt["frozen"])
    assert done.stdout == f"{number} of {number} frozen tensors are those of the base\n"


def test_going_on_compares_with_the_base_and_not_with_the_checkpoint(published, command):
    before = published.receipt
    (published.run / "receipt.json").unlink()
    line = ["train", str(published.run / "recipe.yaml"), "--output", str(published.run)]
    done = command(*line, "train.length=3 epochs", **published.environment)
    assert done.code == 0, done.err
    after = published.receipt
    assert after["frozen"] == before["frozen"]
    assert after["commit"] == before["commit"]


def test_a_weight_that_was_changed_is_not_pushed(published, command):
    path = published.run / "best" / "model.safetensors"
    tensors = load_file(path)
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    tensors["conv1.0.weight"].view(-1)[0] += 1e-3
    save_file(tensors, path, metadata={"format": "pt"})
    done = command("push", str(published.run), **published.environment)
    assert done.code == 2
    assert "conv1.0.weight" in done.err
    save_file(kept, path, metadata={"format": "pt"})
    assert command("push", str(published.run), **published.environment).code == 0


def test_statistics_that_may_move_are_reported_as_moved(publish):
    run = publish("train")
    moving = run.receipt["moving"]
    assert "bn1.running_mean" in moving
    assert not any(record["same"] for record in moving.values())
    assert not any("running" in name for name in run.receipt["frozen"])
    card = (run.run / "artifact" / "README.md").read_text(encoding="utf-8")
    assert f"({len(moving)} tensors) followed the new images" in card
