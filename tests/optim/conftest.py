"""Tiny models of several families with their layer maps."""

import pytest
import timm
import torch
from torch import nn

from hftune.core import LayerMap
from hftune.model.layer_map import map_layers

FAMILIES = ("resnet18", "vit_tiny_patch16_224", "convnext_atto", "tf_efficientnet_lite0")


def small_model(family: str) -> nn.Module:
    options = {"depth": 3} if family.startswith("vit") else {}
    torch.manual_seed(0)
    return timm.create_model(family, num_classes=3, **options)


@pytest.fixture(scope="session", params=FAMILIES)
def mapped(request) -> tuple[nn.Module, LayerMap]:
    module = small_model(request.param)
    return module, map_layers(module)


@pytest.fixture(scope="session")
def resnet() -> tuple[nn.Module, LayerMap]:
    module = small_model("resnet18")
    return module, map_layers(module)


@pytest.fixture(scope="session")
def vit() -> tuple[nn.Module, LayerMap]:
    module = small_model("vit_tiny_patch16_224")
    return module, map_layers(module)
