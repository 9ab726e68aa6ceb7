"""Grad-CAM: where in an image a classifier found what speaks for a class (torchcam computes it)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import Tensor

from hftune.model.places import Places, find_places
from hftune.model.published import Classifier

REMEDY = "pip install 'hftune[report]'"
# Images of one forward pass: all that a layer keeps for the gradient is in memory at once.
_TOGETHER = 4


def can_draw_heat() -> bool:
    """Say whether the library that heat maps need is installed."""
    return find_spec("torchcam") is not None


class HeatMaps:
    """A classifier on the CPU, and the layer whose places are drawn."""

    def __init__(self, classifier: Classifier, places: Places) -> None:
        self.classifier = classifier
        self.places = places

    def draw(self, inputs: Tensor, classes: Sequence[int]) -> Tensor:
        """Give a map per image, float32 [B, H, W] on the layer's grid, for the class named for it.

        `inputs` are normalised, [B, C, H, W]. Values are in units of the logit: at each place the
        activations weighted by the class's mean gradient, and nothing below zero (Selvaraju et al.
        2017, equations 1 and 2).
        """
        maps = [
            self._draw(inputs[start : start + _TOGETHER], classes[start : start + _TOGETHER])
            for start in range(0, len(inputs), _TOGETHER)
        ]
        return torch.cat(maps) if maps else torch.empty(0, *self.places.grid)

    def _draw(self, inputs: Tensor, classes: Sequence[int]) -> Tensor:
        from torchcam.methods import GradCAM  # an extra, which a page without maps does not need

        module = self.classifier.module
        extractor = GradCAM(module, self.places.layer, reshape_transform=self.places.as_maps)
        with extractor, torch.enable_grad():
            logits: Tensor = module(inputs.detach().requires_grad_())
            (maps,) = extractor(list(classes), logits, normalized=False)
        return maps.detach().float()


def open_heat(classifier: Classifier) -> HeatMaps | None:
    """Find the layer to draw; None where the classifier pools all places away before any layer.

    Side effect: one forward pass of an image of noise.
    """
    spec = classifier.input_spec
    noise = torch.rand(
        1, spec.channels, spec.height, spec.width, generator=torch.Generator().manual_seed(0)
    )
    places = find_places(classifier.module, noise)
    return None if places is None else HeatMaps(classifier, places)
