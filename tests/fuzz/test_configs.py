"""A published folder whose config.json or weights were made by somebody careless, or hostile."""

import json
from pathlib import Path

import pytest
from PIL import Image

from hftune.core import RepoRef
from hftune.errors import ModelError
from hftune.export.artifact import build_artifact
from hftune.model.published import load_classifier
from tests.finished import write_finished_run
from tests.fuzz.damage import damaged, damaged_json
from tests.fuzz.outcome import error_of, type_in
from tests.fuzz.weights import hostile_pickle


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("published")
    Image.new("RGB", (70, 60)).save(place / "image.png")
    return build_artifact(write_finished_run(place / "run")).folder


@pytest.fixture(autouse=True)
def restored(artifact: Path) -> object:
    """Leave the folder as it was found."""
    good = (artifact / "config.json").read_bytes()
    yield
    (artifact / "config.json").write_bytes(good)


def load(artifact: Path) -> None:
    load_classifier(RepoRef(folder=artifact))


def change(artifact: Path, **values: object) -> None:
    """State something else in config.json; with `facts_` before its name in pretrained_cfg."""
    config = json.loads((artifact / "config.json").read_text())
    for name, value in values.items():
        block = config["pretrained_cfg"] if name.startswith("facts_") else config
        block[name.removeprefix("facts_")] = value
    (artifact / "config.json").write_text(json.dumps(config))


ODD = {
    "architecture": ["resnet50 ", "../x", "os.system", 7, None, [], "hf-hub:org/x", "vit" * 999],
    "model_args": [
        {"depth": 10**9},
        {"checkpoint_path": "x"},
        {"cache_dir": "/"},
        [],
        "x",
        {"": 1},
    ],
    "facts_input_size": [[3, 10**9, 10**9], [3, 0, 64], [3, 64], "3x64x64", [3.5, 64, 64], 64],
    "facts_mean": [[], ["a"] * 3, [float("nan")] * 3, 0.5, None],
    "facts_std": [[0, 0, 0], [1e-400] * 3, "x"],
    "facts_interpolation": ["", "random", 3, ["bicubic"]],
    "facts_crop_pct": [0, -1, 2.5, float("inf"), "1", []],
    "facts_crop_mode": ["", 1, "centre"],
    "facts_first_conv": [3, {"a": 1}, [["conv1"]]],
    "facts_label_offset": [-1, 10**9, "1"],
    "label_names": [3, "abc", {"0": "a"}, [], [None] * 3, ["a"] * 3, {"x": 1}, [["a"]] * 3],
    "num_classes": [-1, 10**12, "3", [3], 1e308],
    "problem_type": [3, None, [], "regression"],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_facts_are_an_error_or_do_no_harm(artifact: Path, name: str) -> None:
    good = (artifact / "config.json").read_bytes()
    for value in ODD[name]:
        change(artifact, **{name: value})
        error_of(lambda: load(artifact))
        (artifact / "config.json").write_bytes(good)


@pytest.mark.parametrize("option", ["checkpoint_path", "pretrained_cfg_overlay", "cache_dir"])
def test_options_of_timm_itself_never_come_from_a_config(artifact: Path, option: str) -> None:
    marker = artifact.parent / "ran"
    (artifact / "notes.txt").write_bytes(hostile_pickle(marker))
    change(artifact, model_args={option: str(artifact / "notes.txt")})
    with pytest.raises(ModelError, match="asks for what no model is built with"):
        load(artifact)
    assert not marker.exists()
    (artifact / "notes.txt").unlink()


def test_every_odd_fact_is_named_at_once(artifact: Path) -> None:
    change(artifact, facts_crop_pct="x", facts_mean=[])
    with pytest.raises(ModelError) as caught:
        load(artifact)
    assert caught.value.found == (
        "crop_pct: 'x'; give a share above 0 and up to 1\nmean: []; give a number per channel"
    )


def test_odd_class_names_do_not_steer_the_terminal(artifact: Path) -> None:
    names = ["\x1b[2Jbad", "\u202egood", "a\nb"]
    change(artifact, label_names=names)
    image = str(artifact.parent.parent / "image.png")
    for words in (("predict", str(artifact), image), ("inspect", str(artifact))):
        code, printed, _ = type_in(*words)
        assert code == 0
        assert "\x1b" not in printed
        assert "\u202e" not in printed
    code, printed, _ = type_in("predict", str(artifact), image, "--json")
    assert set(json.loads(printed)["scores"]) == set(names)


def check_seeds(artifact: Path, seeds: range) -> None:
    good = (artifact / "config.json").read_bytes()
    image = str(artifact.parent.parent / "image.png")
    for seed in seeds:
        config = artifact / "config.json"
        if seed % 3:
            config.write_text(json.dumps(damaged_json(json.loads(good), seed)))
        else:
            config.write_bytes(damaged(good, seed))
        error_of(lambda: load(artifact))
        if seed % 4 == 0:
            type_in("predict", str(artifact), image)
            type_in("inspect", str(artifact))


def test_damaged_configs(artifact: Path) -> None:
    check_seeds(artifact, range(24))


@pytest.mark.chaos
def test_300_damaged_configs(artifact: Path) -> None:
    check_seeds(artifact, range(1_000, 1_300))
