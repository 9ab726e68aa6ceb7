"""One model of every family that timm has: where its parameters live, and in which group.

Models are built on torch's meta device: they have names, shapes and an order of computation, and
take no memory.
"""

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from hftune.core import LayerMap
from hftune.model.layer_map import map_layers
from hftune.model.select import select
from hftune.optim.groups import make_groups
from hftune.recipe.schema import OptimRecipe

_SMALL = ("test_", "atto", "femto", "pico", "xxs", "nano", "xs", "tiny", "_s", "small", "18", "b0")
FAST = ("resnet", "vision_transformer", "convnext", "efficientnet", "byobnet", "swin_transformer")

# Families whose layers do not run in the order in which timm itself counts them.
OUT_OF_ORDER = {
    "cait": "its first class-attention block is counted with the last block but one",
    "coat": "the position encodings of a stage's stem run again in each of its blocks",
    "csatv2": "a position embedding runs after the norm that is counted after it",
    "efficientvim": "the norms of its heads for the middle stages are counted with the head",
    "repvit": "its second head has a norm, which runs after the first head",
}
# timm gives up on their order (no groups of their own), and places the head below other layers.
HEAD_LIFTED = ("csatv2",)
SLOW_FORWARD = ("sequencer",)  # recurrent


def smallest(family: str) -> str:
    """Name the family's model that is small by its name; the first of those, so always the same."""
    names = timm.list_models(module=family, include_tags=False)

    def rank(name: str) -> tuple[int, int, str]:
        hits = [position for position, hint in enumerate(_SMALL) if hint in name]
        return min(hits, default=len(_SMALL)), len(name), name

    return min(names, key=rank)


FAMILIES = [
    pytest.param(family, marks=() if family in FAST else pytest.mark.slow)
    for family in timm.list_modules()
    if timm.list_models(module=family)
]


def build(family: str) -> tuple[nn.Module, LayerMap]:
    with torch.device("meta"):
        module = timm.create_model(smallest(family), num_classes=7).eval()
    return module, map_layers(module)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_has_one_place_one_selector_and_one_group(family: str) -> None:
    module, layers = build(family)
    names = [name for name, _ in module.named_parameters()]

    # The map covers each parameter once, and every depth and stage holds something.
    assert set(names) <= set(layers.depth)
    assert {layers.depth[name] for name in names} == set(range(layers.num_depths))
    assert {layers.stage[name] for name in names} == set(range(layers.num_stages + 1))
    assert layers.head

    # Stages and the head, depths, and backbone and head: each cuts the model without overlap.
    stages = [f"stage.{number}" for number in range(layers.num_stages)]
    depths = [f"layer.{number}" for number in range(layers.num_depths)]
    for cut in ([*stages, "head"], depths, ["backbone", "head"], ["stages[:]", "head"]):
        parts = [select([selector], layers, names) for selector in cut]
        assert sorted(name for part in parts for name in part) == sorted(names), cut

    # Groups hold each trainable parameter once, shallow ones first.
    trainable = select(["all", "not stage.0"], layers, names)
    optim = OptimRecipe(layer_decay=0.8, weight_decay=0.1, rates={"head": "2x"})
    groups = make_groups(optim, layers, module, trainable=trainable)
    assert sorted(name for group in groups for name in group.names) == sorted(trainable)
    assert len({group.label for group in groups}) == len(groups)
    shallowest = [min(layers.depth[name] for name in group.names) for group in groups]
    assert shallowest == sorted(shallowest)

    if family not in HEAD_LIFTED:
        assert_layer_decay_is_timms(module, layers)
    if family not in SLOW_FORWARD:
        assert_depth_rises(family, module, layers)


def assert_layer_decay_is_timms(module: nn.Module, layers: LayerMap) -> None:
    trainable = frozenset(name for name, _ in module.named_parameters())
    groups = make_groups(OptimRecipe(layer_decay=0.75), layers, module, trainable=trainable)
    ours = {name: group.scale for group in groups for name in group.names}
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    reference = param_groups_layer_decay(module, layer_decay=0.75)
    timms = {names[id(p)]: group["lr_scale"] for group in reference for p in group["params"]}
    assert ours == pytest.approx(timms)


def assert_depth_rises(family: str, module: nn.Module, layers: LayerMap) -> None:
    """Compare places with the order in which layers finish in a forward pass."""
    seen: list[str] = []
    for name, child in module.named_modules():
        if f"{name}.weight" in layers.depth:
            child.register_forward_hook(lambda *_, name=f"{name}.weight": seen.append(name))
    with torch.no_grad(), torch.device("meta"):
        module(torch.zeros(1, *module.pretrained_cfg["input_size"]))
    assert len(seen) > 10
    rises = all(
        order == sorted(order)
        for order in ([place[name] for name in seen] for place in (layers.depth, layers.stage))
    )
    assert rises == (family not in OUT_OF_ORDER)
