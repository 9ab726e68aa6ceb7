"""The whole promise on real input: a real backbone, real images, a Hub, and strangers' readers."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hftune.hub.server import running

pytestmark = pytest.mark.slow

REPO = "local/elpv"

# What somebody has who never heard of hftune: timm, transformers, and the repository's name.
STRANGER = """
import json, sys, timm, torch
from PIL import Image
from transformers import pipeline

repo, path = sys.argv[1:]
image = Image.open(path).convert("RGB")
model = timm.create_model(f"hf-hub:{repo}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
with torch.inference_mode():
    logits = model(transform(image)[None])[0]
pipe = pipeline("image-classification", repo, device="cpu")
inputs = pipe.image_processor(image, return_tensors="pt")
with torch.inference_mode():
    others = pipe.model(**inputs).logits[0]
print(json.dumps({
    "timm": logits.tolist(),
    "names": list(model.pretrained_cfg["label_names"]),
    "transformers": others.tolist(),
    "answer": pipe(image)[0]["label"],
}))
"""


def ours(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hftune", *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory):
    """A Hub with the real backbone and the ELPV cells, and the environment of its clients."""
    root = tmp_path_factory.mktemp("job")
    with running(root / "hub") as hub:
        environment = hub.environment | {"HF_HOME": str(root / "hf")}
        done = ours("hub", "seed", "--folder", str(root / "images"), **environment)
        assert done.returncode == 0, done.stderr
        yield root, environment


@pytest.fixture(scope="module")
def trained(seeded):
    """The shipped recipe, cut to a few small steps, trained and pushed."""
    root, environment = seeded
    words = ["train", "elpv-lite0", "--output", str(root / "run"), f"hub.push_to={REPO}"]
    short = ["train.length=6 steps", "eval.every=3 steps", "model.image_size=64"]
    done = ours(*words, *short, **environment)
    assert done.returncode == 0, done.stderr
    return root, environment, [*words, *short], done


def test_the_run_is_published_and_verified(trained):
    root, _, _, done = trained
    assert "verified  pulled into an empty cache" in done.stdout
    pushed = json.loads((root / "run" / "pushed.json").read_text())
    assert pushed["logit_gap"] <= 1e-5
    assert pushed["commit"] in done.stdout
    for picture in ("learning_curves.png", "confusion.png"):
        content = (root / "run" / "report" / picture).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 10_000
    results = json.loads((root / "run" / "results.json").read_text())
    counts = {item["split"]: item["num_examples"] for item in results["evaluations"]}
    assert counts == {"val": 197, "test": 656}


def test_strangers_load_it_with_the_same_logits_and_names(trained):
    root, environment, _, _ = trained
    image = next((root / "images" / "test" / "defective").glob("*.png"))
    empty = environment | {"HF_HOME": str(root / "stranger"), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, REPO, str(image)],
        env=os.environ | empty,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["names"] == ["functional", "defective"]
    assert seen["transformers"] == pytest.approx(seen["timm"], abs=1e-5)

    predicted = ours("predict", REPO, str(image), "--json", **empty)
    assert predicted.returncode == 0, predicted.stderr
    row = json.loads(predicted.stdout)
    assert row["labels"] == [seen["answer"]]
    # Two classes: the softmax is a function of the difference of the logits.
    difference = seen["timm"][1] - seen["timm"][0]
    assert row["scores"]["defective"] == pytest.approx(1 / (1 + math.exp(-difference)), abs=1e-5)


def test_doing_it_again_changes_nothing(trained):
    root, environment, words, _ = trained
    before = json.loads((root / "run" / "pushed.json").read_text())
    done = ours(*words, **environment)
    assert done.returncode == 0, done.stderr
    assert json.loads((root / "run" / "pushed.json").read_text())["commit"] == before["commit"]


def test_what_is_cached_works_offline(trained):
    root, environment, words, _ = trained
    offline = environment | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:1"}
    wanted = [word for word in words if not word.startswith("hub.push_to")]
    wanted[wanted.index("--output") + 1] = str(root / "offline")
    done = ours(*wanted, **offline)
    assert done.returncode == 0, done.stderr
    online, other = (
        json.loads((root / name / "results.json").read_text()) for name in ("run", "offline")
    )
    assert [item["loss"] for item in other["evaluations"]] == [
        item["loss"] for item in online["evaluations"]
    ]


def test_a_published_model_is_judged_by_its_name(trained):
    root, environment, _, _ = trained
    done = ours("eval", REPO, "--json", **environment)
    assert done.returncode == 0, done.stderr
    judged = json.loads(done.stdout)
    results = json.loads((root / "run" / "results.json").read_text())
    (test,) = [item for item in results["evaluations"] if item["split"] == "test"]
    assert judged["num_examples"] == 656
    assert judged["values"] == test["values"]
    assert judged["confusion"] == test["confusion"]


def test_a_stranger_finds_it_as_it_was_published(trained):
    root, environment, _, _ = trained
    empty = environment | {"HF_HOME": str(root / "prober")}
    done = ours("eval", REPO, "--probe", "--json", **empty)
    assert done.returncode == 0, done.stderr
    compared = json.loads(done.stdout)
    assert (compared["agrees"], compared["gap"], compared["drifts"]) == (True, 0.0, [])


def test_the_run_is_reproduced_from_the_hub_alone_to_the_bit(trained):
    root, environment, _, _ = trained
    empty = {
        **environment,
        "HF_HOME": str(root / "reproducer"),
        "HFTUNE_CACHE": str(root / "reproducer-cache"),
    }
    again = root / "again"
    done = ours("reproduce", REPO, "--output", str(again), **empty)
    assert done.returncode == 0, done.stderr
    assert "equal bit for bit: all 296 tensors" in done.stdout
    assert "val         accuracy" in done.stdout
    assert "DIFFERS" not in done.stdout
    assert not (again / "pushed.json").exists()
    weights = [
        (folder / "artifact" / "model.safetensors").read_bytes() for folder in (root / "run", again)
    ]
    assert weights[0][-4096:] == weights[1][-4096:]


def test_no_token_is_left_anywhere(trained):
    root, environment, _, _ = trained
    token = environment["HF_TOKEN"].encode()
    leaks = [
        path
        for folder in ("run", "hf", "images")
        for path in Path(root / folder).rglob("*")
        if path.is_file() and token in path.read_bytes()
    ]
    assert leaks == []
