"""Where a model's last places are, in every layout, by shape and by gradient."""

import pytest
import timm
import torch
from torch import Tensor, nn

from hftune.model.places import find_places

# Family -> layer, grid at 160 x 160 pixels, channels last, tokens before the places.
FOUND = {
    "test_resnet": ("layer4", (5, 5), False, None),
    "test_efficientnet": ("bn2", (5, 5), False, None),
    "tf_efficientnet_lite0": ("bn2", (5, 5), False, None),
    "test_mambaout": ("stages", (5, 5), True, None),
    # The class token alone is read: the last block's places go nowhere.
    "test_vit": ("blocks.4", (10, 10), False, 1),
    "test_vit2": ("norm", (10, 10), False, 1),
    "test_vit_relpos": ("norm", (10, 10), False, 0),
}


@pytest.mark.parametrize("architecture", FOUND)
def test_the_layer_of_a_family(architecture: str) -> None:
    torch.manual_seed(0)
    module = timm.create_model(architecture, num_classes=2).eval()
    found = find_places(module, torch.rand(1, 3, 160, 160))
    assert found is not None
    assert (found.layer, found.grid, found.channels_last, found.tokens) == FOUND[architecture]
    assert not any(part._forward_hooks for part in module.modules())


class Laid(nn.Module):
    """Four channels per place, in some layout of 2 x 3 places; the logits are their mean."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.num_prefix_tokens = 1
        self.output_fmt = "NHWC" if layout == "NHWC" else "NCHW"
        self.patches = nn.Conv2d(3, 4, 4, stride=4)
        self.laid = _Lay(layout)
        self.mean = _Mean(layout)

    def forward(self, inputs: Tensor) -> Tensor:
        mean: Tensor = self.mean(self.laid(self.patches(inputs)))
        return mean


class _Lay(nn.Module):
    def __init__(self, layout: str) -> None:
        super().__init__()
        self.layout = layout

    def forward(self, maps: Tensor) -> Tensor:
        if self.layout == "NCHW":
            return maps * 1
        if self.layout == "NHWC":
            return maps.permute(0, 2, 3, 1)
        tokens = maps.flatten(2).transpose(1, 2)
        return torch.cat([tokens[:, :1] * 0, tokens], 1)


class _Mean(nn.Module):
    def __init__(self, layout: str) -> None:
        super().__init__()
        self.dims = {"NCHW": (2, 3), "NHWC": (1, 2), "tokens": (1,)}[layout]

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(self.dims)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "tokens"])
def test_every_layout_is_turned_into_the_same_maps(layout: str) -> None:
    torch.manual_seed(0)
    module, inputs = Laid(layout), torch.rand(2, 3, 8, 12)
    found = find_places(module, inputs)
    assert found is not None
    assert (found.layer, found.grid) == ("laid", (2, 3))
    assert torch.equal(found.as_maps(module.laid(module.patches(inputs))), module.patches(inputs))


def test_a_model_whose_logits_are_of_no_place_has_none() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    assert find_places(flat, torch.rand(1, 3, 8, 8)) is None
    blind = nn.Sequential(nn.Conv2d(3, 2, 4, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.zeros_(blind[0].weight)
    assert find_places(blind, torch.rand(1, 3, 4, 4)) is None  # one place only
