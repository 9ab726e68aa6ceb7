"""The libraries people use, unmodified, each in a process of its own with its own cache."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hftune.hub.server import RunningHub


def run(hub: RunningHub, home: Path, code: str, **environment: str) -> dict:
    """Run code against the hub as a stranger's program would; give the JSON of its last line."""
    variables = {**os.environ, **hub.environment, "HF_HOME": str(home), **environment}
    for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_TOKEN_PATH"):
        variables.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_command_line_client_uploads_and_downloads(hub: RunningHub, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text("{}")
    (source / "model.safetensors").write_bytes(b"\x00\x01")
    environment = {**os.environ, **hub.environment, "HF_HOME": str(tmp_path / "home")}
    program = [sys.executable, "-m", "huggingface_hub.cli.hf"]
    for command in (
        ["upload", "acme/by-hand", str(source), "."],
        ["download", "acme/by-hand", "--local-dir", str(tmp_path / "target")],
    ):
        done = subprocess.run(
            [*program, *command], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "target/model.safetensors").read_bytes() == b"\x00\x01"


def test_datasets_library_pushes_loads_and_streams(hub: RunningHub, tmp_path: Path) -> None:
    push = """
import json, datasets
rows = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 0]})
rows = rows.cast_column("label", datasets.ClassLabel(names=["no", "yes"]))
split = datasets.DatasetDict(train=rows, test=rows.select([0]))
split.push_to_hub("acme/rows", private=True)
print(json.dumps(1))
"""
    run(hub, tmp_path / "home", push)
    load = """
import json, datasets
found = datasets.load_dataset("acme/rows")
streamed = list(datasets.load_dataset("acme/rows", split="train", streaming=True))
print(json.dumps({
    "splits": {name: len(rows) for name, rows in found.items()},
    "names": found["train"].features["label"].names,
    "texts": found["train"]["text"][:],
    "streamed": streamed,
}))
"""
    found = run(hub, tmp_path / "other-home", load)
    assert found == {
        "splits": {"train": 3, "test": 1},
        "names": ["no", "yes"],
        "texts": ["a", "b", "c"],
        "streamed": [
            {"text": "a", "label": 0},
            {"text": "b", "label": 1},
            {"text": "c", "label": 0},
        ],
    }


def test_datasets_library_loads_an_image_folder(
    hub: RunningHub, api: HfApi, tmp_path: Path
) -> None:
    from io import BytesIO

    from PIL import Image

    operations = []
    for split, label, shade in (
        ("train", "dark", 10),
        ("train", "light", 200),
        ("test", "dark", 9),
    ):
        stream = BytesIO()
        Image.new("L", (8, 8), shade).save(stream, "PNG")
        operations.append(CommitOperationAdd(f"{split}/{label}/{shade}.png", stream.getvalue()))
    api.create_repo("acme/folder", repo_type="dataset")
    api.create_commit("acme/folder", operations, commit_message="images", repo_type="dataset")
    load = """
import json, datasets
found = datasets.load_dataset("acme/folder")
rows = [(row["image"].getpixel((0, 0)), row["label"]) for row in found["train"]]
print(json.dumps({"names": found["train"].features["label"].names, "rows": rows}))
"""
    assert run(hub, tmp_path / "home", load) == {
        "names": ["dark", "light"],
        "rows": [[10, 0], [200, 1]],
    }


@pytest.mark.slow
def test_timm_pushes_and_pulls_a_model(hub: RunningHub, tmp_path: Path) -> None:
    push = """
import json, timm, torch
torch.manual_seed(0)
model = timm.create_model("test_vit", num_classes=3).eval()
timm.models.push_to_hf_hub(model, "acme/tiny", model_config={"label_names": ["a", "b", "c"]})
print(json.dumps(model(torch.ones(1, 3, 160, 160)).tolist()))
"""
    logits = run(hub, tmp_path / "home", push)
    pull = """
import json, timm, torch
model = timm.create_model("hf-hub:acme/tiny", pretrained=True).eval()
print(json.dumps({
    "logits": model(torch.ones(1, 3, 160, 160)).tolist(),
    "names": model.pretrained_cfg["label_names"],
}))
"""
    found = run(hub, tmp_path / "other-home", pull)
    assert found == {"logits": logits, "names": ["a", "b", "c"]}
