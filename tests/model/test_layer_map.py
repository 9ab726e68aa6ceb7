"""Every parameter and buffer has one place, and places follow the order of computation."""

import pytest
import timm
import torch
from timm.models import group_parameters
from torch import nn

from hftune.core import LayerMap
from hftune.model.layer_map import head_modules, is_norm, map_layers

FAMILIES = (
    *timm.list_models("test_*"),
    "tf_efficientnet_lite0",
    "resnet18",
    "resnet50",
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "swin_tiny_patch4_window7_224",
)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> tuple[nn.Module, LayerMap]:
    module = timm.create_model(request.param, num_classes=7)
    return module, map_layers(module)


def test_every_name_has_exactly_one_place(family: tuple[nn.Module, LayerMap]) -> None:
    module, layers = family
    names = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    assert set(layers.depth) == set(layers.stage) == set(layers.role) == names
    assert set(layers.depth.values()) == set(range(layers.num_depths))
    assert set(layers.stage.values()) == set(range(layers.num_stages + 1))
    assert set(layers.role.values()) <= {"head", "norm", "bias", "embed", "body"}


def test_depths_are_those_of_timm(family: tuple[nn.Module, LayerMap]) -> None:
    module, layers = family
    theirs = group_parameters(module, module.group_matcher(coarse=False), reverse=True)
    assert {name: layers.depth[name] for name in theirs} == theirs


def test_depth_and_stage_rise_in_the_order_of_computation(
    family: tuple[nn.Module, LayerMap],
) -> None:
    module, layers = family
    seen: list[str] = []
    hooks = [
        child.register_forward_hook(lambda *_, name=f"{name}.weight": seen.append(name))
        for name, child in module.named_modules()
        if f"{name}.weight" in layers.depth
    ]
    size = module.pretrained_cfg["input_size"]
    with torch.no_grad():
        module.eval()(torch.zeros(1, *size))
    for hook in hooks:
        hook.remove()
    assert len(seen) > 10
    for place in (layers.depth, layers.stage):
        order = [place[name] for name in seen]
        assert order == sorted(order)


def test_the_classifier_alone_is_the_head(family: tuple[nn.Module, LayerMap]) -> None:
    module, layers = family
    head = {name for name, role in layers.role.items() if role == "head"}
    shapes = {name: tensor.shape[0] for name, tensor in module.named_parameters() if name in head}
    assert shapes
    assert set(shapes.values()) == {7}
    assert {layers.depth[name] for name in head} == {layers.num_depths - 1}
    assert {layers.stage[name] for name in head} == {layers.num_stages}


def test_norms_are_found_by_their_class(family: tuple[nn.Module, LayerMap]) -> None:
    module, layers = family
    torch_norms = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
    expected = {
        f"{name}.{leaf}"
        for name, child in module.named_modules()
        if isinstance(child, torch_norms)
        for leaf, _ in (*child.named_parameters(recurse=False), *child.named_buffers(recurse=False))
    }
    found = {name for name, role in layers.role.items() if role == "norm"}
    assert expected <= found
    assert all("norm" in n or "bn" in n or is_norm(_owner(module, n)) for n in found)


def _owner(module: nn.Module, name: str) -> nn.Module:
    return module.get_submodule(name.rpartition(".")[0])


@pytest.mark.parametrize(
    ("architecture", "head"),
    [
        ("deit_tiny_distilled_patch16_224", ("head", "head_dist")),  # two classifiers
        ("test_byobnet", ("head.fc",)),  # inside a pooling head
        ("efficientvit_b0", ("head.classifier.4",)),  # the last layer of a sequence
        ("levit_128s", ("head.linear", "head_dist.linear")),  # norm and layer in one, twice
        ("dpn68", ("classifier",)),  # a convolution
        ("crossvit_tiny_240", ("head.0", "head.1")),  # one for each branch
        ("poolformerv2_s12", ("head.fc",)),
    ],
)
def test_heads_of_every_kind_are_found(architecture: str, head: tuple[str, ...]) -> None:
    module = timm.create_model(architecture, num_classes=7)
    assert head_modules(module) == head
    assert map_layers(module).head == head


def test_only_the_last_layer_of_a_deep_head_is_the_head() -> None:
    module = timm.create_model("caformer_s18", num_classes=7)
    layers = map_layers(module)
    assert layers.head == ("head.fc.fc2",)
    assert layers.role["head.fc.fc1.weight"] == "body"
    assert layers.stage["head.fc.fc1.weight"] == layers.num_stages - 1
    assert layers.depth["head.fc.fc2.weight"] == layers.num_depths - 1
    assert layers.depth["head.fc.fc1.weight"] == layers.num_depths - 2


def test_a_model_without_classifier_has_no_head() -> None:
    layers = map_layers(timm.create_model("test_vit", num_classes=0))
    assert layers.head == ()
    assert "head" not in layers.role.values()
    assert max(layers.stage.values()) == layers.num_stages - 1


def test_a_family_without_coarse_groups_uses_the_fine_ones() -> None:
    module = timm.create_model("rdnet_tiny", num_classes=7)
    layers = map_layers(module)
    assert layers.num_stages == layers.num_depths - 1


def test_a_model_without_groups_is_grouped_in_order() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(*(nn.Linear(4, 4) for _ in range(20)))
            self.fc = nn.Linear(4, 3)
            self.pretrained_cfg = {"classifier": "fc"}

        def get_classifier(self) -> nn.Module:
            return self.fc

    layers = map_layers(Plain())
    body = [layers.depth[f"body.{i}.weight"] for i in range(20)]
    assert body == sorted(body)
    assert body[0] == 0
    assert layers.depth["fc.weight"] == layers.num_depths - 1 == body[-1] + 1


def test_stages_of_a_resnet_are_its_stem_and_four_layers() -> None:
    layers = map_layers(timm.create_model("resnet18", num_classes=7))
    assert layers.num_stages == 5
    assert layers.stage["conv1.weight"] == layers.stage["bn1.running_mean"] == 0
    assert layers.stage["layer4.1.bn2.num_batches_tracked"] == 4
    assert layers.stage["fc.weight"] == 5


def test_last_convolution_of_an_efficientnet_is_in_the_last_stage() -> None:
    layers = map_layers(timm.create_model("tf_efficientnet_lite0", num_classes=2))
    assert layers.num_stages == 8
    assert layers.stage["conv_head.weight"] == layers.stage["bn2.running_var"] == 7
    assert layers.stage["blocks.6.0.conv_pwl.weight"] == 7


def test_embeddings_and_biases_of_a_vit_have_their_roles() -> None:
    roles = map_layers(timm.create_model("test_vit", num_classes=2)).role
    assert roles["pos_embed"] == roles["cls_token"] == roles["patch_embed.proj.bias"] == "embed"
    assert roles["blocks.0.attn.qkv.bias"] == "bias"
    assert roles["blocks.0.attn.qkv.weight"] == "body"
    assert roles["blocks.0.norm1.bias"] == "norm"


def test_position_buffers_live_where_their_attention_lives() -> None:
    module = timm.create_model("swin_tiny_patch4_window7_224", num_classes=2)
    layers = map_layers(module)
    for name, _ in module.named_buffers():
        if name.endswith("relative_position_index"):
            owner = name.rpartition(".")[0]
            assert layers.depth[name] == layers.depth[f"{owner}.qkv.weight"]


def test_shared_tensors_have_one_place() -> None:
    module = timm.create_model("coat_tiny", num_classes=2)
    placed = map_layers(module).depth
    state = module.state_dict(keep_vars=True)
    assert len(state) > len(placed)
    assert len({id(state[name]) for name in placed}) == len(placed)
    assert {id(tensor) for tensor in state.values()} == {id(state[name]) for name in placed}
