"""A model with its own head: rebuilt exactly, its classes known by name."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from hftune.core import RepoRef
from hftune.errors import ModelError, WeightsError
from hftune.model.published import load_classifier


def write_repository(folder: Path, *, rows: int = 3, **config: object) -> RepoRef:
    """Write test_resnet with `rows` random logits in timm's Hub format."""
    torch.manual_seed(0)
    module = timm.create_model("test_resnet", pretrained=False, num_classes=rows)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(module.state_dict(), folder / "model.safetensors")
    content = {"architecture": "test_resnet", "pretrained_cfg": {"input_size": [3, 64, 64]}}
    (folder / "config.json").write_text(json.dumps(content | config), encoding="utf-8")
    return RepoRef(folder=folder)


def own_logits(folder: Path, inputs: torch.Tensor, *, rows: int) -> torch.Tensor:
    from safetensors.torch import load_file

    module = timm.create_model("test_resnet", pretrained=False, num_classes=rows)
    module.load_state_dict(load_file(folder / "model.safetensors"))
    return module.eval()(inputs)


def test_the_head_is_kept_as_it_is(tmp_path):
    found = load_classifier(write_repository(tmp_path, label_names=["b", "a", "c"]))
    inputs = torch.rand(2, 3, 64, 64)
    assert found.labels.names == ("b", "a", "c")
    assert not found.labels.multi
    assert not found.module.training
    assert torch.equal(found.module(inputs), own_logits(tmp_path, inputs, rows=3))


def test_a_background_class_in_front_is_left_out(tmp_path):
    block = {"input_size": [3, 64, 64], "label_offset": 1}
    source = write_repository(tmp_path, rows=4, label_names=["a", "b", "c"], pretrained_cfg=block)
    inputs = torch.rand(2, 3, 64, 64)
    logits = load_classifier(source).module(inputs)
    assert torch.allclose(logits, own_logits(tmp_path, inputs, rows=4)[:, 1:], atol=1e-6)


def test_the_problem_is_read_from_the_config(tmp_path):
    source = write_repository(
        tmp_path, label_names=["a", "b", "c"], problem_type="multi_label_classification"
    )
    assert load_classifier(source).labels.multi


def test_names_of_another_number_than_the_heads_rows(tmp_path):
    with pytest.raises(WeightsError):
        load_classifier(write_repository(tmp_path, label_names=["a", "b"]))


def test_without_names_there_is_no_guess(tmp_path):
    with pytest.raises(ModelError, match="which classes"):
        load_classifier(write_repository(tmp_path, num_classes=3))


def test_imagenet_weights_are_named_by_their_tag(tmp_path):
    block = {"input_size": [3, 64, 64], "tag": "r160_in1k"}
    source = write_repository(tmp_path, rows=1000, num_classes=1000, pretrained_cfg=block)
    assert load_classifier(source).labels.names[0].startswith("tench")


def test_a_number_is_known_as_one(tmp_path):
    source = write_repository(tmp_path, rows=1, label_names=["age"], problem_type="regression")
    found = load_classifier(source)
    assert found.labels.problem == "regression"
    assert found.labels.names == ("age",)
    inputs = torch.rand(2, 3, 64, 64)
    assert torch.equal(found.module(inputs), own_logits(tmp_path, inputs, rows=1))
