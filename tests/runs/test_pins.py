"""Base, data and teacher move on the Hub while a run is stopped; it goes on with what it took."""

import json
import sys
from pathlib import Path

import pytest
import timm
import torch
from timm.models import save_for_hf

from hftune.core import RepoRef
from hftune.hub.client import HubSettings
from hftune.hub.seed import seed_repo
from tests.data.squares import write_squares
from tests.runs.stopping import run_until

pytestmark = pytest.mark.slow

BASE, DATA, TEACHER = "local/pin-base", "local/pin-squares", "local/pin-teacher"
NAMES = ["dark", "light"]
RECIPE = """\
run: small
model: {repo: local/pin-base, image_size: 32}
data: {source: {name: hub_dataset, repo: local/pin-squares}, workers: 0}
freeze: {stages: 1}
distill: {teacher: local/pin-teacher}
train: {length: 12 steps, batch_size: 6, precision: fp32}
save: {every: 2 steps}
eval: {every: 12 steps}
track: {every: 1 steps}
"""


def seed_all(settings: HubSettings, root: Path, *, seed: int, more: int) -> dict[str, str]:
    """Make the Hub's three main branches hold models and images of this seed; give the commits."""
    torch.manual_seed(seed)
    folders = {"model": root / "base", "teacher": root / "teacher", "data": root / "squares"}
    for name in ("model", "teacher"):
        module = timm.create_model("test_vit", num_classes=2, img_size=32)
        args = {"img_size": 32}
        save_for_hf(
            module, folders[name], model_config={"label_names": NAMES}, model_args=args,
            safe_serialization=True,
        )  # fmt: skip
        (folders[name] / "pytorch_model.bin").unlink(missing_ok=True)
    write_squares(folders["data"], train=12 + more, val=6 + more)
    refs = {
        "model": RepoRef(repo_id=BASE, folder=folders["model"]),
        "teacher": RepoRef(repo_id=TEACHER, folder=folders["teacher"]),
        "data": RepoRef(kind="dataset", repo_id=DATA, folder=folders["data"]),
    }
    return {name: str(seed_repo(settings, ref).ref.commit) for name, ref in refs.items()}


def test_a_run_goes_on_with_the_commits_it_took_and_publishes_them(local_hub, command, tmp_path):
    settings = HubSettings(
        endpoint=local_hub.endpoint, token=local_hub.write_token, cache=tmp_path / "cache"
    )
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE)

    def home(name: str) -> dict[str, str]:
        """A client that has nothing of the Hub yet."""
        places = {"HF_HOME": str(tmp_path / name), "HFTUNE_CACHE": str(tmp_path / name / "kept")}
        return local_hub.environment | places

    first = seed_all(settings, tmp_path / "first", seed=0, more=0)
    run = tmp_path / "run"
    line = [sys.executable, "-m", "hftune", "train", str(recipe), "-o", str(run)]
    run_until(line, home("one"), sign="step 3/12")

    second = seed_all(settings, tmp_path / "second", seed=1, more=2)
    assert not set(first.values()) & set(second.values())
    on = command("train", str(recipe), "-o", str(run), **home("two"))
    assert on.code == 0, on.err
    pins = json.loads((run / "pins.json").read_text())
    assert (pins["model"], pins["data"]) == (first["model"], first["data"])
    assert (pins["teacher"]["repo_id"], pins["teacher"]["commit"]) == (TEACHER, first["teacher"])

    card = (run / "artifact" / "README.md").read_text()
    assert f"- Teacher: `{TEACHER}` at commit `{first['teacher'][:12]}`" in card
    record = json.loads((run / "artifact" / "hftune" / "run.json").read_text())
    assert record["teacher"] == pins["teacher"]
    done = command("eval", str(run), "--json", **home("three"))
    assert done.code == 0, done.err
    results = json.loads((run / "results.json").read_text())["evaluations"]
    assert json.loads(done.out)["num_examples"] == results[0]["num_examples"] == 6
    done = command("report", str(run), **home("three"))
    assert done.code == 0, done.err
    assert "images of this run are not shown" not in (run / "report" / "report.html").read_text()

    # Trained at one go, from what is published alone.
    again = command(
        "reproduce", str(run / "artifact"), "-o", str(tmp_path / "again"), "--json", **home("four")
    )
    assert again.code == 0, again.err
    best = json.loads((run / "best" / "state.json").read_text())
    assert best["step"] == 12, best  # so what is equal comes from after the stop
    said = json.loads(again.out)
    assert said["is_exact"], said
