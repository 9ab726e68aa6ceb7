"""A few images and what the trained model makes of them on the way, kept with the weights.

Whoever loads the published model can compare: equal logits mean equal weights and equal pixels.
Where they differ, the pixels, the transform and the hashes of the tensors say what it is.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from hftune.core import InputSpec
from hftune.data.image_input import eval_transform, normalise
from hftune.errors import PublishError
from hftune.files import write_bytes
from hftune.model.published import Classifier
from hftune.train.receipt import hash_tensors

PROBE = "hftune/probe.safetensors"

# The one key of the file's metadata: its transform, class names and hashes, as JSON.
_METADATA = "hftune"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Decoded images (mode RGB or L), and what becomes of them, all on the CPU.

    `pixels` are the images after the transform of `spec`, uint8 [N, C, H, W], and `logits` what the
    model gives for these, float32 [N, K], in the order of `names`. `tensors` maps the model's
    tensors to their hashes in fp32.
    """

    images: tuple[Image.Image, ...]
    pixels: Tensor
    logits: Tensor
    spec: InputSpec
    names: tuple[str, ...]
    tensors: Mapping[str, str]


def make_probe(trained: Classifier, images: Sequence[Image.Image]) -> Probe:
    """Give `images` and what becomes of them in `trained`.

    Images are kept in the mode that the model's channels ask for, so that a reader need not
    convert them. Side effect: leaves the model on the CPU in fp32 and eval mode.
    """
    spec = trained.input_spec
    mode = "L" if spec.channels == 1 else "RGB"
    converted = tuple(image.convert(mode) for image in images)
    pixels = to_model_pixels(converted, spec)
    logits = run_pixels(trained.module, pixels, spec)
    state = trained.module.state_dict()
    return Probe(
        images=converted,
        pixels=pixels,
        logits=logits,
        spec=spec,
        names=trained.labels.names,
        tensors=hash_tensors(state, list(state)),
    )


def to_model_pixels(images: Sequence[Image.Image], spec: InputSpec) -> Tensor:
    """Give images as evaluation resizes and crops them, uint8 [N, C, H, W]."""
    transform = eval_transform(spec)
    return torch.stack([transform(image) for image in images])


def run_pixels(model: nn.Module, pixels: Tensor, spec: InputSpec) -> Tensor:
    """Give the logits [N, K] of pixels [N, C, H, W], evaluated together in fp32 on the CPU.

    Side effect: leaves `model` on the CPU in eval mode.
    """
    model.to("cpu", torch.float32).eval()
    with torch.inference_mode():
        logits: Tensor = model(normalise(pixels, spec))
    return logits.clone()


def run_images(model: nn.Module, images: Sequence[Image.Image], spec: InputSpec) -> Tensor:
    """Give the logits [N, K] of `images`, evaluated together in fp32 on the CPU.

    Side effect: leaves `model` on the CPU in eval mode.
    """
    if not images:
        raise ValueError("there is no image to run")
    return run_pixels(model, to_model_pixels(images, spec), spec)


def write_probe(path: Path, probe: Probe) -> None:
    """Write a probe: `image.N` uint8 [H, W, 3] or [H, W], `pixels`, `logits`; the rest as metadata.

    Raises DiskError.
    """
    tensors = {
        f"image.{i}": torch.from_numpy(np.array(image)) for i, image in enumerate(probe.images)
    }
    said = {"spec": asdict(probe.spec), "names": probe.names, "tensors": dict(probe.tensors)}
    content = save(
        {**tensors, "pixels": probe.pixels.contiguous(), "logits": probe.logits.contiguous()},
        metadata={_METADATA: json.dumps(said, sort_keys=True)},
    )
    write_bytes(path, content)


def read_probe(path: Path) -> Probe:
    """Read a probe file. Raises PublishError when it is missing or damaged."""
    try:
        tensors = load_file(path)
        with safe_open(path, framework="pt") as opened:
            said = json.loads((opened.metadata() or {})[_METADATA])
        count = sum(name.startswith("image.") for name in tensors)
        return Probe(
            images=tuple(Image.fromarray(tensors[f"image.{i}"].numpy()) for i in range(count)),
            pixels=tensors["pixels"],
            logits=tensors["logits"],
            spec=_spec(said["spec"]),
            names=tuple(said["names"]),
            tensors=dict(said["tensors"]),
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise PublishError(
            "the probe images are missing or damaged",
            found=str(error),
            where=str(path),
            remedy="build the artifact again: hftune export RUN",
        ) from error


def _spec(values: Mapping[str, Any]) -> InputSpec:
    return InputSpec(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


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
