"""Rows of a head by class name, and the start of a new one."""

import pytest
import timm
import torch
from torch import nn

from hftune.errors import WeightsError
from hftune.model.head import centre_head, pick_rows, start_head
from hftune.model.layer_map import head_modules

TENSORS = {
    "fc.weight": torch.arange(6.0).reshape(3, 2),
    "fc.bias": torch.tensor([0.0, 3.0, 6.0]),
    "fc2.weight": torch.ones(3, 2),
}


def test_rows_of_head_tensors_are_picked_and_others_left() -> None:
    made = pick_rows(TENSORS, ["fc"], rows=(2, 0, 1), num_base=3, where="w")
    assert made["fc.weight"].tolist() == [[4, 5], [0, 1], [2, 3]]
    assert made["fc2.weight"] is TENSORS["fc2.weight"]


def test_a_class_without_a_row_starts_from_the_mean_of_all() -> None:
    made = pick_rows(TENSORS, ["fc"], rows=(None, 2, None, 0), num_base=3, where="w")
    assert made["fc.weight"].tolist() == [[2, 3], [4, 5], [2, 3], [0, 1]]
    assert made["fc.bias"].tolist() == [3, 6, 3, 0]


def test_half_precision_keeps_its_kind_and_is_averaged_exactly() -> None:
    tensors = {"fc.weight": torch.full((3000, 1), 60000.0, dtype=torch.float16)}
    made = pick_rows(tensors, ["fc"], rows=(None, 1), num_base=3000, where="w")["fc.weight"]
    assert made.dtype == torch.float16
    assert made.tolist() == [[60000.0], [60000.0]]


def test_a_head_of_another_size_than_its_names_is_refused() -> None:
    with pytest.raises(WeightsError, match="3 rows"):
        pick_rows({"fc.bias": torch.ones(5)}, ["fc"], rows=(0, 1), num_base=3, where="w")


def started(architecture: str, init: str, seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    module = timm.create_model(architecture, num_classes=300)
    start_head(module, head_modules(module), num_classes=300, init=init, seed=seed)
    return dict(module.state_dict())


@pytest.mark.parametrize(
    ("architecture", "heads"),
    [
        ("test_efficientnet", ["classifier"]),
        ("test_vit", ["head"]),
        ("deit_tiny_distilled_patch16_224", ["head", "head_dist"]),
        ("dpn68", ["classifier"]),
        ("levit_128s", ["head.linear", "head_dist.linear"]),
    ],
)
def test_normal_start_is_small_and_reaches_every_head(architecture: str, heads: list[str]) -> None:
    state = started(architecture, "normal")
    plain = started(architecture, "timm")
    for head in heads:
        weight = state[f"{head}.weight"]
        # 300 rows of at least 256: the sample's sd is within 2% of the true one.
        assert weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert not state[f"{head}.bias"].any()
    changed = {name for name in state if not torch.equal(state[name], plain[name])}
    assert {name.rpartition(".")[0] for name in changed} == set(heads)


def test_zero_start_is_zero() -> None:
    state = started("test_resnet", "zero")
    assert not state["fc.weight"].any()
    assert not state["fc.bias"].any()


def test_start_repeats_by_seed_and_leaves_the_global_state() -> None:
    one, same, other = (started("test_resnet", "normal", seed=s)["fc.weight"] for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    module = timm.create_model("test_resnet", num_classes=3)
    before = torch.get_rng_state()
    start_head(module, ("fc",), num_classes=3, init="normal", seed=5)
    assert torch.equal(before, torch.get_rng_state())


def test_only_the_layers_that_give_logits_start_anew() -> None:
    module = nn.Sequential()
    module.add_module("head", nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 3)))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    start_head(module, ("head",), num_classes=3, init="zero", seed=0)
    after = module.state_dict()
    assert torch.equal(before["head.0.weight"], after["head.0.weight"])
    assert torch.equal(before["head.1.weight"], after["head.1.weight"])
    assert not after["head.2.weight"].any()


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_a_centred_head_gives_about_the_value_for_any_image(architecture: str) -> None:
    module = timm.create_model(architecture, num_classes=1).eval()
    head = head_modules(module)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    start_head(module, head, num_classes=1, init="zero", seed=0)
    centre_head(module, head, num_classes=1, value=41.5)
    size = module.pretrained_cfg["input_size"]
    with torch.no_grad():
        assert module(torch.rand(3, *size)).tolist() == [[41.5]] * 3
    changed = {n for n, t in module.state_dict().items() if not torch.equal(t, before[n])}
    assert {name.rpartition(".")[0] for name in changed} == set(head)
