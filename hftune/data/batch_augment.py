"""Augmentations of a whole batch of pixels on its device, each image by its own decisions.

What an image decides it draws as ever: where it is loaded, from its own generator, in the recipe's
order. The last augmentations of a recipe, as far as they are listed here, then travel as numbers
beside the pixels, and give bit for bit what they give image by image.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from numpy.random import Generator
from PIL.Image import Image as Picture
from torch import Tensor

from hftune.data.augment import (
    Augmentation,
    Fill,
    color_jitter,
    drawn_changes,
    erased_window,
    grayscale,
    horizontal_flip,
    mean_color,
    random_erasing,
    vertical_flip,
)

_CHANGES = ("brightness", "contrast", "saturation")


@dataclass(frozen=True, kw_only=True)
class Deferred:
    """An augmentation in two parts.

    `draw` gives an image's decisions as numbers; `apply` takes uint8 [B, C, H, W] and these numbers
    float64 [B, number], and gives the pixels uint8 [B, C, H, W].
    """

    draw: Callable[[Picture, Generator], tuple[float, ...]]
    apply: Callable[[Tensor, Tensor], Tensor]
    number: int


def defer(
    augmentations: Sequence[Augmentation], *, channels: int
) -> tuple[tuple[Augmentation, ...], tuple[Deferred, ...]]:
    """Split a list into what must be done image by image, and what may be done to the batch."""
    deferred: list[Deferred] = []
    for augmentation in reversed(augmentations):
        form = _deferred(augmentation, channels)
        if form is None:
            break
        deferred.insert(0, form)
    return tuple(augmentations[: len(augmentations) - len(deferred)]), tuple(deferred)


def draw_deferred(
    deferred: Sequence[Deferred], image: Picture, rng: Generator
) -> tuple[float, ...]:
    """Give the numbers that an image draws for the augmentations to come; `image` is not changed.

    They need the image's size and mode alone, which none of them changes.
    """
    return tuple(number for one in deferred for number in one.draw(image, rng))


def apply_deferred(deferred: Sequence[Deferred], pixels: Tensor, drawn: Tensor) -> Tensor:
    """Give `pixels` uint8 [B, C, H, W] augmented by what their images drew, float64 [B, N].

    Nothing is read back from the device.
    """
    parts = torch.split(drawn, [one.number for one in deferred], dim=1)
    for one, numbers in zip(deferred, parts, strict=True):
        pixels = one.apply(pixels, numbers)
    return pixels


def _deferred(augmentation: Augmentation, channels: int) -> Deferred | None:
    """Give the two parts of a bound augmentation; None where it has no exact form for batches."""
    if not isinstance(augmentation, partial):
        return None
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(augmentation).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    if augmentation.func is color_jitter and not options.pop("hue"):
        number = 2 * sum(options[name] > 0 for name in _CHANGES)
        return Deferred(draw=partial(_draw_changes, **options), apply=_change, number=number)
    if augmentation.func is random_erasing:
        draw = partial(_draw_window, channels=channels, **options)
        return Deferred(draw=draw, apply=_erase, number=4 + channels)
    apply = _BY_CHANCE.get(augmentation.func)
    if apply is None:
        return None
    return Deferred(draw=partial(_draw_chance, **options), apply=apply, number=1)


def _draw_chance(image: Picture, rng: Generator, *, p: float) -> tuple[float]:  # noqa: ARG001
    return (float(rng.random() < p),)


def _draw_changes(
    image: Picture,  # noqa: ARG001  # the form of all draws
    rng: Generator,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
) -> tuple[float, ...]:
    drawn = drawn_changes(
        rng, brightness=brightness, contrast=contrast, saturation=saturation, hue=0.0
    )
    return tuple(number for name, amount in drawn for number in (_CHANGES.index(name), amount))


def _draw_window(
    image: Picture,
    rng: Generator,
    *,
    channels: int,
    fill: Fill,
    p: float,
    min_area: float,
    max_area: float,
    max_stretch: float,
) -> tuple[float, ...]:
    window = erased_window(
        image.size, rng, p=p, min_area=min_area, max_area=max_area, max_stretch=max_stretch
    )
    color = mean_color(image, fill)
    colors = (color,) * channels if isinstance(color, int) else color
    return (*(window or (0, 0, 0, 0)), *colors)


def _by_row(numbers: Tensor) -> Tensor:
    """Give numbers [B] in the form that meets pixels [B, C, H, W]."""
    return numbers.view(-1, 1, 1, 1)


def _mirror(pixels: Tensor, numbers: Tensor) -> Tensor:
    return torch.where(_by_row(numbers).bool(), pixels.flip(3), pixels)


def _turn_over(pixels: Tensor, numbers: Tensor) -> Tensor:
    return torch.where(_by_row(numbers).bool(), pixels.flip(2), pixels)


def _take_color(pixels: Tensor, numbers: Tensor) -> Tensor:
    return torch.where(_by_row(numbers).bool(), _grey(pixels), pixels)


def _erase(pixels: Tensor, numbers: Tensor) -> Tensor:
    left, top, right, bottom = (_by_row(one) for one in numbers[:, :4].unbind(1))
    x = torch.arange(pixels.shape[3], device=pixels.device)
    y = torch.arange(pixels.shape[2], device=pixels.device)[:, None]
    inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    color = numbers[:, 4:, None, None].to(torch.uint8)
    return torch.where(inside, color, pixels)


def _change(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Change brightness, contrast and saturation, each image in its own order.

    Each is Pillow's blend of the image with black, with its mean grey, or with its grey values.
    """
    for first in range(0, numbers.shape[1], 2):
        kind, amount = (_by_row(one) for one in numbers[:, first : first + 2].unbind(1))
        grey = _grey(pixels)
        flat = torch.where(kind == _CHANGES.index("brightness"), 0, _mean(grey))
        start = torch.where(kind == _CHANGES.index("saturation"), grey, flat).float()
        mixed = start + amount.float() * (pixels.float() - start)
        pixels = mixed.clamp(0, 255).to(torch.uint8)  # cuts fractions off, as Pillow does
    return pixels


def _mean(grey: Tensor) -> Tensor:
    """Give the mean [B, 1, 1, 1] of uint8 [B, 1, H, W], rounded half up."""
    count = grey.shape[2] * grey.shape[3]
    total = grey.sum(dim=(2, 3), keepdim=True, dtype=torch.int64)
    return ((2 * total + count) // (2 * count)).to(torch.uint8)


def _grey(pixels: Tensor) -> Tensor:
    """Give uint8 [B, 1, H, W] in the integers of Pillow's conversion (ITU-R 601-2 luma)."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = pixels.to(torch.int32).unbind(1)
    luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return luma.to(torch.uint8)[:, None]


_BY_CHANCE: Mapping[Callable[..., Picture], Callable[[Tensor, Tensor], Tensor]] = {
    horizontal_flip: _mirror,
    vertical_flip: _turn_over,
    grayscale: _take_color,
}
