"""Frozen is frozen: parameters, statistics and dropout, for every kind of norm."""

from typing import Literal

import pytest
import timm
import torch
from torch import nn

from hftune.core import LayerMap
from hftune.model.freeze import apply_freeze, count_parameters, set_train_mode
from hftune.model.layer_map import map_layers
from hftune.model.select import select

Policy = Literal["train", "statistics", "all"]
NORMS = {
    "test_resnet": nn.BatchNorm2d,
    "test_efficientnet": nn.BatchNorm2d,
    "test_efficientnet_gn": nn.GroupNorm,
    "test_efficientnet_ln": nn.LayerNorm,
    "test_vit": nn.LayerNorm,
    "test_convnext": nn.LayerNorm,
}


def prepare(
    architecture: str, *selectors: str, policy: Policy = "statistics", **options: object
) -> tuple[nn.Module, LayerMap, frozenset[str]]:
    torch.manual_seed(0)
    module = timm.create_model(architecture, num_classes=3, **options)
    layers = map_layers(module)
    trainable = select(selectors, layers, [name for name, _ in module.named_parameters()])
    apply_freeze(module, trainable)
    set_train_mode(module, layers, trainable=trainable, batch_norm=policy)
    return module, layers, trainable


def train_steps(module: nn.Module, steps: int = 3) -> None:
    moving = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(moving, lr=0.05, weight_decay=0.1)
    torch.manual_seed(1)
    for _ in range(steps):
        logits = module(torch.randn(4, 3, 96, 96))
        nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
        optimizer.zero_grad()


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], module: nn.Module) -> set[str]:
    after = module.state_dict()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def options_for(architecture: str) -> dict[str, object]:
    return {"img_size": 96} if architecture == "test_vit" else {}


@pytest.mark.parametrize(("architecture", "norm"), NORMS.items())
@pytest.mark.parametrize("selectors", [("head",), ("head", "stage.-1")])
def test_frozen_parameters_and_buffers_stay_bit_identical(
    architecture: str, norm: type[nn.Module], selectors: tuple[str, ...]
) -> None:
    module, layers, trainable = prepare(architecture, *selectors, **options_for(architecture))
    assert any(isinstance(child, norm) for child in module.modules())
    before = snapshot(module)
    train_steps(module)
    moved = changed(before, module)
    assert trainable <= moved
    frozen_depths = set(layers.depth.values()) - {layers.depth[name] for name in trainable}
    assert not {name for name in moved if layers.depth[name] in frozen_depths}
    assert not {name for name, _ in module.named_parameters()} & moved - trainable


def test_policy_train_lets_frozen_statistics_move_and_nothing_else() -> None:
    module, _, trainable = prepare("test_resnet", "head", policy="train")
    before = snapshot(module)
    train_steps(module)
    moved = changed(before, module) - trainable
    statistics = {name for name, _ in module.named_buffers()}
    assert moved == statistics


def test_statistics_of_trained_layers_move() -> None:
    module, layers, _ = prepare("test_resnet", "head", "stage.-1")
    before = snapshot(module)
    train_steps(module)
    moved = {name for name, _ in module.named_buffers()} & changed(before, module)
    assert moved == {name for name, _ in module.named_buffers() if layers.stage[name] == 4}


def test_batch_norm_frozen_by_itself_keeps_its_statistics() -> None:
    module, _, trainable = prepare("test_resnet", "all", "not norm")
    before = snapshot(module)
    train_steps(module)
    assert changed(before, module) == trainable


def test_trained_batch_norm_in_a_frozen_body_follows_the_policy() -> None:
    module, _, _ = prepare("test_resnet", "head", "norm", policy="statistics")
    assert module.layer1[0].bn1.training
    module, _, _ = prepare("test_resnet", "head", "norm", policy="all")
    assert not module.layer1[0].bn1.training
    before = snapshot(module)
    train_steps(module)
    moved = changed(before, module)
    assert "layer1.0.bn1.weight" in moved
    assert not moved & {name for name, _ in module.named_buffers()}


def test_policy_all_leaves_fully_trained_layers_alone() -> None:
    module, _, _ = prepare("test_resnet", "head", "stage.-1", policy="all")
    assert module.layer4[0].bn1.training
    assert not module.layer3[0].bn1.training


def test_everything_trainable_is_plain_train_mode() -> None:
    for policy in ("train", "statistics", "all"):
        module, _, _ = prepare("test_resnet", "all", policy=policy)
        assert all(child.training for child in module.modules())


def test_batch_norm_without_scale_follows_the_layer_around_it() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False))
            self.fc = nn.Linear(4, 3)
            self.pretrained_cfg = {"classifier": "fc"}

        def get_classifier(self) -> nn.Module:
            return self.fc

    module = Plain()
    layers = map_layers(module)
    head = frozenset({"fc.weight", "fc.bias"})
    set_train_mode(module, layers, trainable=head, batch_norm="statistics")
    assert not module.body[1].training
    set_train_mode(module, layers, trainable=head, batch_norm="train")
    assert module.body[1].training
    everything = frozenset(name for name, _ in module.named_parameters())
    set_train_mode(module, layers, trainable=everything, batch_norm="statistics")
    assert module.body[1].training


def test_dropout_at_the_top_level_follows_the_next_layer() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.noise = nn.Sequential(nn.Dropout(0.5))
            self.body = nn.Linear(4, 4)
            self.drop = nn.Sequential(nn.Dropout(0.5))
            self.fc = nn.Linear(4, 3)
            self.pretrained_cfg = {"classifier": "fc"}

        def get_classifier(self) -> nn.Module:
            return self.fc

    module = Plain()
    head = frozenset({"fc.weight", "fc.bias"})
    set_train_mode(module, map_layers(module), trainable=head, batch_norm="statistics")
    modes = {name: child.training for name, child in module.named_modules()}
    assert not modes["noise"]
    assert not modes["noise.0"]
    assert modes["drop"]
    assert modes["drop.0"]


def test_frozen_prefix_is_deterministic_under_dropout() -> None:
    module, _, _ = prepare(
        "test_vit",
        "head",
        drop_path_rate=0.5,
        attn_drop_rate=0.5,
        proj_drop_rate=0.5,
        pos_drop_rate=0.5,
    )
    images = torch.randn(4, 3, 160, 160)
    first, second = (module.forward_features(images) for _ in range(2))
    assert torch.equal(first, second)


def test_dropout_before_a_trained_head_stays_active() -> None:
    for architecture in ("test_vit", "test_efficientnet", "test_byobnet"):
        module, _, _ = prepare(architecture, "head", drop_rate=0.5)
        images = torch.randn(4, 3, 160, 160)
        assert not torch.equal(module(images), module(images))


def test_drop_path_of_trained_layers_stays_active() -> None:
    module, _, _ = prepare("test_vit", "head", "stage.-1", drop_path_rate=0.5)
    assert module.blocks[5].drop_path1.training
    assert not module.blocks[4].drop_path1.training


def test_train_mode_is_put_right_after_any_other_call() -> None:
    module, layers, trainable = prepare("test_resnet", "head")
    module.eval()
    set_train_mode(module, layers, trainable=trainable, batch_norm="statistics")
    assert module.training
    assert module.fc.training
    module.train()
    set_train_mode(module, layers, trainable=trainable, batch_norm="statistics")
    assert not module.layer1[0].bn1.training


def test_freezing_sets_flags_and_forgets_gradients() -> None:
    module, layers, _ = prepare("test_vit", "all")
    module(torch.randn(2, 3, 160, 160)).sum().backward()
    head = select(["head"], layers, [name for name, _ in module.named_parameters()])
    apply_freeze(module, head)
    assert {n for n, p in module.named_parameters() if p.requires_grad} == head
    assert all(parameter.grad is None for parameter in module.parameters())


def test_freezing_refuses_names_that_are_no_parameters() -> None:
    module = timm.create_model("test_resnet")
    with pytest.raises(ValueError, match="running_mean"):
        apply_freeze(module, frozenset({"bn1.running_mean"}))


def test_counting_counts_shared_tensors_once() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    count = count_parameters(module, frozenset({"1.bias"}))
    assert (count.total, count.trainable) == (9 + 3 + 3, 3)
