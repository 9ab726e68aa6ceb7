"""Heat maps: the arithmetic by hand, and light where the evidence is."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hftune.core import LabelSpace
from hftune.model.published import Classifier
from hftune.report.heat import HeatMaps, open_heat
from tests.drawn import LABELS, tiny_model

pytest.importorskip("torchcam")


def opened(architecture: str, side: int = 64) -> HeatMaps:
    model = tiny_model(architecture)
    is_fixed = architecture.startswith("test_vit")  # to the 32 pixels of `tiny_model`
    spec = model.input_spec if is_fixed else replace(model.input_spec, height=side, width=side)
    found = open_heat(Classifier(module=model.module.eval(), input_spec=spec, labels=LABELS))
    assert found is not None
    return found


def inputs_of(heat: HeatMaps, number: int = 2) -> Tensor:
    spec = heat.classifier.input_spec
    generator = torch.Generator().manual_seed(1)
    return torch.rand(number, 3, spec.height, spec.width, generator=generator)


@pytest.mark.parametrize("architecture", ["test_resnet", "tf_efficientnet_lite0"])
def test_before_a_mean_and_a_linear_head_a_map_is_the_share_of_each_place(
    architecture: str,
) -> None:
    """The gradient is the head's row over the number of places (Zhou et al. 2016, equation 2)."""
    heat = opened(architecture)
    module, inputs = heat.classifier.module, inputs_of(heat)
    features = module.forward_features(inputs)
    head = module.get_classifier().weight[torch.tensor([1, 0])]
    number = features.shape[2] * features.shape[3]
    by_hand = torch.einsum("bchw,bc->bhw", features, head).relu() / number
    found = heat.draw(inputs, [1, 0])
    assert found.shape == (2, *heat.places.grid)
    torch.testing.assert_close(found, by_hand, rtol=1e-4, atol=1e-6)
    assert bool(found.any())


@pytest.mark.parametrize("architecture", ["test_vit", "test_vit2", "test_mambaout"])
def test_tokens_and_channels_last_by_their_own_gradient(architecture: str) -> None:
    heat = opened(architecture)
    module, inputs = heat.classifier.module, inputs_of(heat)
    kept: list[Tensor] = []
    layer = module.get_submodule(heat.places.layer)
    handle = layer.register_forward_hook(lambda _part, _inputs, output: kept.append(output))
    logits = module(inputs)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, 1] + logits[1, 0], kept[0])
    if heat.places.tokens is not None:
        kept[0], gradient = kept[0][:, 1:], gradient[:, 1:]
    places = gradient.flatten(1, -2).mean(1)
    by_hand = (kept[0].flatten(1, -2) * places[:, None]).sum(-1).relu()
    found = heat.draw(inputs, [1, 0])
    torch.testing.assert_close(found.flatten(1), by_hand, rtol=1e-4, atol=1e-7)
    assert bool(found.any())


class Bright(nn.Module):
    """Class 1 is how bright the image is on the whole, class 0 the opposite."""

    def __init__(self, *, channels_last: bool) -> None:
        super().__init__()
        self.output_fmt = "NHWC" if channels_last else "NCHW"
        self.bright = nn.Conv2d(3, 1, 4, stride=4, bias=False)
        nn.init.ones_(self.bright.weight)
        self.laid = Permuted((0, 2, 3, 1) if channels_last else (0, 1, 2, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        mean = self.laid(self.bright(inputs)).flatten(1).mean(1)
        return torch.stack([-mean, mean], 1)


class Permuted(nn.Module):
    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__()
        self.order = order

    def forward(self, maps: Tensor) -> Tensor:
        return maps.permute(self.order)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_map_lights_where_the_evidence_is_and_is_dark_for_the_other_class(
    channels_last: bool,
) -> None:
    spec = replace(tiny_model().input_spec, height=16, width=24)
    labels = LabelSpace(names=("dark", "bright"))
    module = Bright(channels_last=channels_last).eval()
    heat = open_heat(Classifier(module=module, input_spec=spec, labels=labels))
    assert heat is not None
    image = torch.zeros(1, 3, 16, 24)
    image[:, :, 8:12, 20:24] = 1  # the third row of places, the last column
    lit = heat.draw(image, [1])[0]
    assert lit.shape == (4, 6)
    assert lit.argmax() == 2 * 6 + 5
    assert torch.count_nonzero(lit) == 1
    assert float(lit.max()) == pytest.approx(3 * 16 / 24)  # its share of the logit
    assert not heat.draw(image, [0]).any()


def test_more_images_than_one_pass_holds_and_none() -> None:
    heat = opened("test_resnet")
    inputs = inputs_of(heat, 5)
    classes = [0, 1, 1, 0, 1]
    alone = [heat.draw(inputs[[row]], [classes[row]])[0] for row in range(5)]
    torch.testing.assert_close(heat.draw(inputs, classes), torch.stack(alone))
    assert heat.draw(inputs[:0], []).shape == (0, *heat.places.grid)
