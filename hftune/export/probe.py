"""A few images and the logits that the trained model gives for them, kept with the weights.

Whoever loads the published model can compare: equal logits mean equal weights and equal pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from hftune.core import InputSpec
from hftune.data.image_input import eval_transform, normalise
from hftune.errors import PublishError
from hftune.files import write_bytes

PROBE = "hftune/probe.safetensors"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Decoded images (mode RGB or L) and their logits, float32 [N, K], on the CPU."""

    images: tuple[Image.Image, ...]
    logits: Tensor


def make_probe(model: nn.Module, images: Sequence[Image.Image], spec: InputSpec) -> Probe:
    """Give `images` and what `model` says about them.

    Images are kept in the mode that the model's channels ask for, so that a reader need not
    convert them. Side effect: leaves `model` on the CPU in eval mode.
    """
    mode = "L" if spec.channels == 1 else "RGB"
    converted = tuple(image.convert(mode) for image in images)
    return Probe(images=converted, logits=run_images(model, converted, spec))


def run_images(model: nn.Module, images: Sequence[Image.Image], spec: InputSpec) -> Tensor:
    """Give the logits [N, K] of `images`, evaluated together in fp32 on the CPU.

    Side effect: leaves `model` on the CPU in eval mode.
    """
    if not images:
        raise ValueError("there is no image to run")
    transform = eval_transform(spec)
    pixels = torch.stack([transform(image) for image in images])
    model.to("cpu", torch.float32).eval()
    with torch.inference_mode():
        logits: Tensor = model(normalise(pixels, spec))
    return logits.clone()


def write_probe(path: Path, probe: Probe) -> None:
    """Write a probe: `image.N` uint8 [H, W, 3] or [H, W], and `logits`. Raises DiskError."""
    tensors = {
        f"image.{i}": torch.from_numpy(np.array(image)) for i, image in enumerate(probe.images)
    }
    write_bytes(path, save({**tensors, "logits": probe.logits.contiguous()}))


def read_probe(path: Path) -> Probe:
    """Read a probe file. Raises PublishError when it is missing or damaged."""
    try:
        tensors = load_file(path)
        count = len(tensors) - 1
        images = tuple(Image.fromarray(tensors[f"image.{i}"].numpy()) for i in range(count))
        return Probe(images=images, logits=tensors["logits"])
    except (FileNotFoundError, SafetensorError, KeyError) as error:
        raise PublishError(
            "the probe images are missing or damaged",
            found=str(error),
            where=str(path),
            remedy="build the artifact again: hftune export RUN",
        ) from error


def drawn_images(channels: int) -> tuple[Image.Image, ...]:
    """Draw three probe images that belong to nobody: wide, tall and square.

    Used where no image of the data may be published. They have smooth ramps, hard edges and
    texture, so that another resize, crop or normalisation would change the logits.
    """
    mode = "L" if channels == 1 else "RGB"
    sizes = ((300, 200), (190, 260), (256, 256))
    return tuple(_drawing(seed, *size).convert(mode) for seed, size in enumerate(sizes))


def _drawing(seed: int, width: int, height: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    ramp = 255.0 * x / width
    waves = 127.5 + 127.5 * np.sin(2 * np.pi * (3 + seed) * y / height)
    squares = 255.0 * (((x // 16) + (y // 24)) % 2)
    texture = np.random.default_rng(seed).uniform(-40.0, 40.0, size=(height, width))
    planes = np.stack([ramp, waves, squares], axis=-1) + texture[..., None]
    return Image.fromarray(np.clip(planes, 0, 255).astype(np.uint8))
