"""A run whose machine is taken away goes on in an empty folder on another, by the same command."""

import json
import sys
from pathlib import Path

import pytest

from hftune.hub.branch import PushTarget
from hftune.hub.client import HubSettings
from hftune.hub.mirror import MIRROR_FILE, fetch_state, find_state
from tests.runs.stopping import run_until

pytestmark = pytest.mark.slow
REPO = "local/taken-away"
MIRRORED = (f"hub.push_to={REPO}", "save.every=2 steps", "save.push_every=2 steps")


def step_on_hub(settings: HubSettings, folder: Path) -> int:
    ref = find_state(PushTarget(repo_id=REPO, revision="checkpoints"), settings=settings)
    assert ref is not None
    fetch_state(ref, folder, files=(MIRROR_FILE,), settings=settings)
    return json.loads((folder / MIRROR_FILE).read_text())["step"]


def test_the_same_command_goes_on_from_the_hub(write_recipe, metrics, local_hub, tmp_path):
    settings = HubSettings(
        endpoint=local_hub.endpoint, token=local_hub.write_token, cache=tmp_path / "cache"
    )
    recipe = write_recipe("test_resnet", ", drop_rate: 0.1")
    line = [sys.executable, "-m", "hftune", "train", recipe, *MIRRORED, "--output"]
    homes = [local_hub.environment | {"HF_HOME": str(tmp_path / name)} for name in ("one", "two")]
    lost, found = tmp_path / "lost", tmp_path / "found"

    run_until([*line, str(lost)], homes[0], sign="step 3/12")
    brought = step_on_hub(settings, tmp_path / "then")
    assert brought == metrics(lost, "train")[-1]["step"]

    said = run_until([*line, str(found)], homes[1], sign=f"step {brought + 2}/12")
    assert f"brought the checkpoint after step {brought} from {REPO}" in said
    steps = [entry["step"] for entry in metrics(found, "train")]
    assert steps == list(range(1, steps[-1] + 1))
    before = metrics(lost, "train")
    assert metrics(found, "train")[:brought] == before  # brought, not done again
    assert step_on_hub(settings, tmp_path / "now") == steps[-1] > brought
