"""Where a classifier still knows places of the image: its last layer before they are pooled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import cast

import torch
from torch import Tensor, nn

# The image's height and width over the map's, one divided by the other, at the most: of an image
# whose sides a stride does not divide, the two are not quite equal.
_MOST_UNEVEN = 1.5


@dataclass(frozen=True, kw_only=True)
class Places:
    """The module `layer` and how its output lies over the image: `grid` is (rows, columns).

    The output is [B, C, H, W], with `channels_last` [B, H, W, C], or, where `tokens` are not None,
    [B, tokens + H * W, C], of which the first `tokens` stand for no place.
    """

    layer: str
    grid: tuple[int, int]
    channels_last: bool = False
    tokens: int | None = None

    def as_maps(self, output: Tensor) -> Tensor:
        """Give the layer's output, or its gradient, as [B, C, H, W]."""
        if self.tokens is not None:
            output = output[:, self.tokens :]
            output = output.reshape(len(output), *self.grid, -1)
        return output.movedim(-1, 1) if self.channels_last or self.tokens is not None else output


def find_places(module: nn.Module, inputs: Tensor) -> Places | None:
    """Give the last layer with a map that the logits of `inputs` [B, C, H, W] depend on.

    Looked for among the module's own parts and the stages that timm's `feature_info` names, the
    last that ran first. The last block of a transformer that reads its class token alone is passed
    over: the places of its output go nowhere. None where no such layer is found.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.is_floating_point():
            outputs.pop(name, None)  # what runs twice counts where it ran last
            outputs[name] = output

    handles = [
        part.register_forward_hook(lambda _part, _inputs, output, name=name: keep(name, output))
        for name, part in _parts(module)
    ]
    try:
        with torch.enable_grad():
            logits: Tensor = module(inputs.detach().requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    return next(_with_gradient(module, outputs, logits, size=_sides(inputs)), None)


def _with_gradient(
    module: nn.Module, outputs: dict[str, Tensor], logits: Tensor, *, size: tuple[int, int]
) -> Iterator[Places]:
    """Give the outputs that have places and matter to the first class there, the last first."""
    for name, output in reversed(outputs.items()):
        places = _places_of(module, name, output, size=size)
        if places is None or not output.requires_grad:
            continue
        # One class: in the sum over two, what trained one against the other cancels out.
        (gradient,) = torch.autograd.grad(
            logits[:, 0].sum(), output, retain_graph=True, allow_unused=True
        )
        if gradient is not None and bool(places.as_maps(gradient).any()):
            yield places


def _parts(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Give the module's parts, and the stages within them that timm names."""
    parts = dict(module.named_children())
    stages = {str(stage["module"]) for stage in _feature_info(module)}
    every = dict(module.named_modules())
    return iter((parts | {name: every[name] for name in stages if name in every}).items())


def _feature_info(module: nn.Module) -> list[dict[str, object]]:
    """Give timm's list of a family's stages; a few families have none."""
    found = getattr(module, "feature_info", None)
    return cast("list[dict[str, object]]", list(found)) if found is not None else []


def _places_of(
    module: nn.Module, name: str, output: Tensor, *, size: tuple[int, int]
) -> Places | None:
    """Read the layout of an output from its shape; None where it has no places, or only one."""
    if output.ndim == 4:
        last_first = getattr(module, "output_fmt", "NCHW") == "NHWC"
        for channels_last in (last_first, not last_first):
            sides = output.shape[1:3] if channels_last else output.shape[2:]
            grid = (int(sides[0]), int(sides[1]))
            if _lies_over(grid, size):
                return Places(layer=name, grid=grid, channels_last=channels_last)
    if output.ndim == 3:
        # Some blocks run before the extra tokens join: then none is to be left out.
        for tokens in (int(getattr(module, "num_prefix_tokens", 0)), 0):
            number = int(output.shape[1]) - tokens
            rows = max(1, round(sqrt(max(0, number) * size[0] / size[1])))
            grid = (rows, number // rows)
            if rows * grid[1] == number and _lies_over(grid, size):
                return Places(layer=name, grid=grid, tokens=tokens)
    return None


def _lies_over(grid: tuple[int, int], size: tuple[int, int]) -> bool:
    """Say whether rows and columns fit an image of this height and width."""
    if min(grid) < 2 or grid[0] > size[0] or grid[1] > size[1]:
        return False
    uneven = (size[0] / grid[0]) / (size[1] / grid[1])
    return 1 / _MOST_UNEVEN < uneven < _MOST_UNEVEN


def _sides(inputs: Tensor) -> tuple[int, int]:
    return int(inputs.shape[2]), int(inputs.shape[3])
