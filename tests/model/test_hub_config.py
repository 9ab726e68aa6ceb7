"""What `config.json` says, in every form that timm has written it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hftune.core import RepoRef
from hftune.errors import ModelError, WeightsError
from hftune.model.hub_config import known_architecture, read_config, registry_config, weights_in


def write(folder: Path, content: object) -> Path:
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_a_folder_of_timm_is_read(write_base: Callable[..., RepoRef]) -> None:
    config = read_config(write_base("test_vit").folder, repo_id="org/base")
    assert config.architecture == "test_vit"
    assert config.label_names == ("ant", "bee", "cat", "dog")
    assert config.input_size == (3, 160, 160)
    assert config.hub_id == "org/base"
    assert config.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)


def test_facts_of_the_old_classes_and_addresses_are_left_behind(tmp_path: Path) -> None:
    stated = {
        "hf_hub_id": "timm/test_resnet.r160_in1k",
        "url": "http://localhost/w.pth",
        "label_names": ["a", "b"],
        "num_classes": 2,
        "label_offset": 1,
        "license": "mit",
        "a_key_of_the_future": 1,
    }
    folder = write(tmp_path, {"architecture": "test_resnet", "pretrained_cfg": stated})
    config = read_config(folder, repo_id=None)
    assert config.hub_id == "timm/test_resnet.r160_in1k"
    assert config.label_names == ("a", "b")
    assert config.label_offset == 1
    left = {"hf_hub_id", "url", "label_names", "num_classes", "label_offset", "a_key_of_the_future"}
    assert not left & config.pretrained_cfg.keys()
    assert config.pretrained_cfg["license"] == "mit"


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (["b", "a"], ("b", "a")),
        ({"1": "a", "0": "b"}, ("b", "a")),
        ({"0": "b", "2": "a"}, ()),
        ([0, 1], ("0", "1")),
        (None, ()),
    ],
)
def test_class_names_come_from_a_list_or_by_position(
    stated: object, expected: tuple[str, ...], tmp_path: Path
) -> None:
    content = {"architecture": "test_resnet", "label_names": stated, "pretrained_cfg": {}}
    assert read_config(write(tmp_path, content), repo_id=None).label_names == expected


def test_names_at_the_root_win_over_older_ones_below(tmp_path: Path) -> None:
    content = {
        "architecture": "test_resnet",
        "label_names": ["new", "names"],
        "pretrained_cfg": {"label_names": ["old", "names"]},
    }
    assert read_config(write(tmp_path, content), repo_id=None).label_names == ("new", "names")


def test_the_old_form_on_one_level_is_read(tmp_path: Path) -> None:
    content = {"architecture": "test_resnet", "mean": [0.1, 0.2, 0.3], "labels": ["a", "b"]}
    config = read_config(write(tmp_path, content), repo_id=None)
    assert config.pretrained_cfg["mean"] == (0.1, 0.2, 0.3)
    assert config.label_names == ("a", "b")


@pytest.mark.parametrize("size", [96, [96, 96]])
def test_saved_arguments_decide_the_input(size: object, tmp_path: Path) -> None:
    content = {
        "architecture": "test_vit",
        "model_args": {"in_chans": 1, "img_size": size},
        "pretrained_cfg": {"input_size": [3, 160, 160], "fixed_input_size": True},
    }
    assert read_config(write(tmp_path, content), repo_id=None).input_size == (1, 96, 96)


def test_other_configs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        read_config(tmp_path, repo_id=None)
    with pytest.raises(ModelError, match="library_name: timm"):
        read_config(write(tmp_path, {"model_type": "bert"}), repo_id=None)
    with pytest.raises(ModelError, match="a JSON object"):
        read_config(write(tmp_path, []), repo_id=None)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="no JSON"):
        read_config(tmp_path, repo_id=None)


def test_unknown_architecture_in_a_config_is_named_with_its_place(tmp_path: Path) -> None:
    folder = write(tmp_path, {"architecture": "resnet_of_tomorrow", "pretrained_cfg": {}})
    with pytest.raises(ModelError) as caught:
        read_config(folder, repo_id=None)
    assert caught.value.where == str(tmp_path / "config.json")


def test_unknown_architecture_gets_close_names() -> None:
    with pytest.raises(ModelError, match="close names: resnet50"):
        known_architecture("resnet_50", where="model.architecture")
    with pytest.raises(ModelError, match=r"set model\.repo"):
        known_architecture("timm/resnet50.a1_in1k", where="model.architecture")


def test_registry_knows_the_facts_of_a_tag() -> None:
    assert registry_config("resnet18").architecture == "resnet18"
    tagged = registry_config("resnet18.a1_in1k")
    assert tagged.architecture == "resnet18"
    assert tagged.pretrained_cfg["tag"] == "a1_in1k"
    assert tagged.hub_id is None
    with pytest.raises(ModelError, match="no such weight tag"):
        registry_config("resnet18.nonsense")


def source(folder: Path) -> RepoRef:
    return RepoRef(repo_id="org/base", folder=folder)


def test_the_usual_weight_file_is_preferred(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    assert weights_in(source(tmp_path)).name == "other.safetensors"
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    assert weights_in(source(tmp_path)).name == "model.safetensors"


def test_several_unusual_weight_files_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file({"a": torch.ones(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(WeightsError, match=r"a\.safetensors, b\.safetensors"):
        weights_in(source(tmp_path))


def test_pickles_only_are_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin") as caught:
        weights_in(source(tmp_path))
    assert "model.allow_pickle: true" in str(caught.value)
    assert caught.value.where == "org/base"


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights here"):
        weights_in(source(tmp_path))
