"""From a decoded image to the pixels a model wants, for training and for evaluation."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image
from PIL.Image import new as new_image
from timm.data import create_transform
from timm.data.transforms import MaybePILToTensor
from torch import Tensor
from torchvision.transforms import Compose

from hftune.core import InputSpec
from hftune.data.augment import Augmentation, Given, gives_size, make_augmentations
from hftune.data.batch_augment import Deferred, defer, draw_deferred
from hftune.errors import ComponentError, ModelError
from hftune.recipe.schema import Component

_MODES = {1: "L", 3: "RGB"}
_MOST_SIDE = 16_384
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")


class EvalTransform:
    """timm's evaluation transform of a model up to the pixels: image -> uint8 [C, H, W].

    `normalise` is the rest of it, for whole batches.
    """

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec
        self.channels = _Channels(spec)
        self.geometry = _evaluation_geometry(spec)

    def __call__(self, image: Image) -> Tensor:
        """Give the pixels of one decoded image."""
        return to_pixels(self.channels.at_last(self.geometry(self.channels.at_first(image))))


class TrainTransform:
    """Augmentations, then the pixels: (image, random generator) -> uint8 [C, H, W].

    Where no augmentation gives the model's size, the geometry of evaluation comes first. What is
    `deferred` is left to whoever has the batch.
    """

    def __init__(
        self,
        spec: InputSpec,
        augmentations: Sequence[Augmentation],
        deferred: Sequence[Deferred] = (),
    ) -> None:
        self.spec = spec
        self.channels = _Channels(spec)
        self.augmentations = tuple(augmentations)
        self.deferred = tuple(deferred)
        sized = any(gives_size(augment) for augment in augmentations)
        self.geometry = None if sized else _evaluation_geometry(spec)

    def __call__(self, image: Image, rng: np.random.Generator) -> Tensor:
        """Give the pixels of one decoded image, augmented. Raises ComponentError for its size."""
        return self.decide(image, rng)[0]

    def decide(self, image: Image, rng: np.random.Generator) -> tuple[Tensor, tuple[float, ...]]:
        """Give the pixels of one decoded image, and what it draws for the deferred augmentations.

        Raises ComponentError for the image's size.
        """
        image = self.channels.at_first(image)
        if self.geometry is not None:
            image = self.geometry(image)
        for augment in self.augmentations:
            image = augment(image, rng)
        wanted = (self.spec.width, self.spec.height)
        if image.size != wanted:
            raise ComponentError(
                "the augmentations give images of a size that the model does not take",
                found=f"{image.width} x {image.height} pixels",
                allowed=f"{wanted[0]} x {wanted[1]} pixels",
                where="data.augment",
            )
        drawn = draw_deferred(self.deferred, image, rng)
        return to_pixels(self.channels.at_last(image)), drawn

    def deferring(self) -> "TrainTransform":
        """Give this transform with its last augmentations deferred, as far as they can be."""
        early, deferred = defer(self.augmentations, channels=self.spec.channels)
        return TrainTransform(self.spec, early, deferred)


class _Channels:
    """Makes images of the model's channels.

    Colour goes before the first step; grey becomes RGB after the last, which costs a third of the
    work and gives the same pixels, unless a border of the mean colour is put around them.
    """

    def __init__(self, spec: InputSpec) -> None:
        if spec.channels not in _MODES or not spec.channels == len(spec.mean) == len(spec.std):
            raise ModelError(
                "images cannot be made for this model's channels",
                found=f"{spec.channels} channels, {len(spec.mean)} means, {len(spec.std)} sds",
                allowed="1 (grey) or 3 (RGB), with a mean and a standard deviation each",
                where="model.channels",
            )
        _refuse_odd(spec)
        self.mode = _MODES[spec.channels]
        self.early = self.mode == "L" or spec.crop_mode == "border"

    def at_first(self, image: Image) -> Image:
        return self.at_last(image) if self.early else image

    def at_last(self, image: Image) -> Image:
        return image if image.mode == self.mode else image.convert(self.mode)


def _refuse_odd(spec: InputSpec) -> None:
    """Raise ModelError for a size, share or spread that no image can be brought to."""
    fit = {
        "height": 0 < spec.height <= _MOST_SIDE,
        "width": 0 < spec.width <= _MOST_SIDE,
        "mean": all(map(math.isfinite, spec.mean)),
        "std": all(math.isfinite(value) and value != 0 for value in spec.std),
        "crop_fraction": 0 < spec.crop_fraction <= 1,
        "interpolation": spec.interpolation in _INTERPOLATIONS,
        "crop_mode": spec.crop_mode in ("center", "squash", "border"),
    }
    odd = [f"{name}: {getattr(spec, name)!r}" for name, fits in fit.items() if not fits]
    if odd:
        raise ModelError("no image can be made as this model wants it", found="\n".join(odd))


def eval_transform(spec: InputSpec) -> EvalTransform:
    """Give the transform that evaluation and prediction use. Raises ModelError for its channels."""
    return EvalTransform(spec)


def train_transform(
    spec: InputSpec, augment: Sequence[Component], *, folder: Path | None = None
) -> TrainTransform:
    """Give the training transform of a recipe's augmentations, tried out once on a plain image.

    `folder` is where './file.py:function' starts from. Raises ComponentError.
    """
    fill = tuple(round(255 * value) for value in spec.mean)
    given = Given(size=(spec.height, spec.width), interpolation=spec.interpolation, fill=fill)
    transform = TrainTransform(spec, make_augmentations(augment, given, folder=folder))
    transform(new_image("RGB", (spec.width + 1, spec.height + 2)), np.random.default_rng(0))
    return transform


def model_inputs(
    inputs: Tensor, spec: InputSpec, *, device: torch.device, layout: torch.memory_format
) -> Tensor:
    """Give a batch's inputs on `device` as the model takes them, 4-d ones in `layout`.

    Pixels travel as uint8, a quarter of the bytes, and are normalised there; features are left as
    they are.
    """
    there = inputs.to(device, non_blocking=True)
    if there.ndim == 4:
        there = there.contiguous(memory_format=layout)
    return normalise(there, spec) if there.dtype == torch.uint8 else there


def normalise(pixels: Tensor, spec: InputSpec) -> Tensor:
    """Give uint8 [B, C, H, W] as the float32 that the model wants, bit for bit as timm does.

    It happens on the device of `pixels` and keeps their memory layout.
    """
    full, mean, std = _scale(spec, pixels.device)
    values = pixels.to(torch.float32)
    if values.is_contiguous():
        rows, mean, std = values.flatten(2), mean[:, None], std[:, None]
    else:  # channels last, by whole lines: rows of three values would be slow
        lines = values.permute(0, 2, 3, 1).contiguous()
        values = lines.permute(0, 3, 1, 2)
        rows, width = lines.flatten(2), pixels.shape[3]
        mean, std = mean.repeat(width), std.repeat(width)
    rows.div_(full).sub_(mean).div_(std)
    return values


@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)  # kept for training as well
def _scale(spec: InputSpec, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Give 255, means and standard deviations [C] on `device`, where each copy is a sync.

    255 is a tensor because CUDA divides by a number with its reciprocal, which is not the same.
    """
    full = torch.full((1,), 255.0, device=device)
    return full, torch.tensor(spec.mean, device=device), torch.tensor(spec.std, device=device)


def to_pixels(image: Image) -> Tensor:
    """Give an 8-bit image as uint8 [C, H, W]."""
    values = torch.from_numpy(np.array(image))
    return values[None] if values.ndim == 2 else values.permute(2, 0, 1)


def _evaluation_geometry(spec: InputSpec) -> Callable[[Image], Image]:
    """Give timm's resizing and cropping of an image, without its conversion to a tensor."""
    whole = create_transform(
        input_size=(spec.channels, spec.height, spec.width),
        interpolation=spec.interpolation,
        mean=spec.mean,
        std=spec.std,
        crop_pct=spec.crop_fraction,
        crop_mode=spec.crop_mode,
        normalize=False,
    )
    geometry: Callable[[Image], Image] = Compose(
        [step for step in whole.transforms if not isinstance(step, MaybePILToTensor)]
    )
    return geometry
