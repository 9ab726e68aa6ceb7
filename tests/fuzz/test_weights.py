"""Weight files of any content: tensors, or one error; no pickle ever runs."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from hftune.core import Progress
from hftune.errors import RunFolderError, WeightsError
from hftune.files import read_json, write_json
from hftune.model.weights import read_weights
from hftune.train.checkpoint import Memory, commit_checkpoint, read_checkpoint
from tests.fuzz.damage import damaged, damaged_json
from tests.fuzz.outcome import content_of, error_of
from tests.fuzz.weights import GOOD, hostile_pickle, hostile_zip, liars

NAMES = list(liars(Path("x")))
# Odd, and sound: every tensor has the place and the size that its header says.
SOUND = {"small dtype", "other dtype", "odd name", "no tensors", "twice"}
AS_PICKLES = ["empty", "metadata a list", "page", "plain pickle", "zip", "pickle", "zip of torch"]
CASES = [
    *((name, ".safetensors") for name in NAMES),
    *((name, ".pth") for name in AS_PICKLES),
]


@pytest.mark.parametrize(("name", "suffix"), CASES)
def test_a_file_that_lies_is_refused(tmp_path: Path, name: str, suffix: str) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(liars(marker)[name])
    before = content_of(tmp_path)
    error = error_of(lambda: read_weights(path, allow_pickle=True))
    if suffix == ".pth" or name not in SOUND:
        assert isinstance(error, WeightsError)
    assert content_of(tmp_path) == before


@pytest.mark.parametrize("make", [hostile_pickle, hostile_zip])
def test_the_hostile_pickle_would_run_elsewhere(tmp_path: Path, make: object) -> None:
    marker, path = tmp_path / "ran", tmp_path / "w.pth"
    path.write_bytes(make(marker))  # type: ignore[operator]
    with pytest.raises(WeightsError, match="not read unless asked"):
        read_weights(path)
    with pytest.raises(WeightsError, match="more than tensors"):
        read_weights(path, allow_pickle=True)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()


def check_seeds(folder: Path, seeds: range) -> None:
    for seed in seeds:
        (folder / "w.safetensors").write_bytes(damaged(GOOD, seed))
        error_of(lambda: read_weights(folder / "w.safetensors"))


def test_damaged_weights(tmp_path: Path) -> None:
    check_seeds(tmp_path, range(100))


def commit(folder: Path) -> Path:
    memory = Memory(
        moments={"weight": {"exp_avg": torch.ones(3, 3), "step": torch.tensor(7.0)}},
        group_state={"head": {"step": 7.0}},
        scaler={"scale": 1024.0},
        average={"weight": torch.ones(3, 3)},
    )
    return commit_checkpoint(
        folder, Progress(step=5), module=torch.nn.Linear(3, 3), memory=memory, plan_digest="d"
    )


def check_checkpoints(folder: Path, seeds: range) -> None:
    """Damage each file of a checkpoint; with every second seed its digest is made to agree."""
    path = commit(folder)
    good = {file.name: file.read_bytes() for file in path.iterdir()}
    for name in good:
        for seed in seeds:
            for other, content in good.items():
                (path / other).write_bytes(content)
            if name == "state.json" and seed % 2:
                write_odd(path / name, damaged_json(json.loads(good[name]), seed))
                error_of(lambda: read_checkpoint(path))
                continue
            content = damaged(good[name], seed)
            (path / name).write_bytes(content)
            if name != "state.json" and seed % 2:
                state = read_json(path / "state.json")
                state["digests"][name] = hashlib.sha256(content).hexdigest()
                write_json(path / "state.json", state)
                error_of(lambda: read_checkpoint(path))
            elif content != good[name] and name != "state.json":
                with pytest.raises(RunFolderError, match="damaged"):
                    read_checkpoint(path)
            else:
                error_of(lambda: read_checkpoint(path))


def write_odd(path: Path, value: object) -> None:
    """Write JSON as a careless program does, with NaN and Infinity."""
    path.write_text(json.dumps(value), encoding="utf-8")


def test_damaged_checkpoints(tmp_path: Path) -> None:
    check_checkpoints(tmp_path, range(8))


@pytest.mark.chaos
def test_300_damaged_weight_files(tmp_path: Path) -> None:
    check_seeds(tmp_path, range(1_000, 1_300))


@pytest.mark.chaos
def test_240_damaged_checkpoints(tmp_path: Path) -> None:
    check_checkpoints(tmp_path, range(1_000, 1_060))
