"""Named image augmentations: the table AUGMENTATIONS, and recipes' lists made callable.

An augmentation is a function (image, rng, *, options) -> image over 8-bit Pillow images of mode L
or RGB; all its randomness comes from `rng`. Three keyword-only parameters are filled in from the
model where a function has them: `size` (height, width), `interpolation` (its name) and `fill` (the
mean colour, 0..255 per channel). A function with `size` gives images of that size; where a list
has none of these, images are resized and cropped as in evaluation before the first.
"""

import contextlib
import inspect
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.random import Generator
from PIL import Image, ImageOps
from PIL.Image import Image as Picture
from timm.data.auto_augment import auto_augment_transform, rand_augment_transform
from timm.data.transforms import RandomResizedCropAndInterpolation
from torchvision.transforms import functional

from hftune.components import bind
from hftune.errors import ComponentError
from hftune.recipe.schema import Component

Augmentation = Callable[[Picture, Generator], Picture]
Share = Annotated[float, Ge(0), Le(1)]
Strength = Annotated[float, Ge(0)]
Fill = tuple[int, ...]


def random_resized_crop(
    image: Picture,
    rng: Generator,
    *,
    size: tuple[int, int],
    interpolation: str,
    min_scale: Annotated[float, Gt(0), Le(1)] = 0.08,
    max_scale: Annotated[float, Gt(0), Le(1)] = 1.0,
    max_stretch: Annotated[float, Ge(1)] = 4 / 3,
) -> Picture:
    """Cut a window of random area (share of the image) and shape, and resize it to `size`.

    `max_stretch` bounds width by height and height by width. As in timm (Szegedy et al. 2015).
    """
    if min_scale > max_scale:
        raise ComponentError(
            "the smallest crop is larger than the largest",
            found=f"min_scale {min_scale:g}, max_scale {max_scale:g}",
            where="random_resized_crop",
        )
    crop = RandomResizedCropAndInterpolation(
        size,
        scale=(min_scale, max_scale),
        ratio=(1 / max_stretch, max_stretch),
        interpolation=interpolation,
    )
    with _python_seeded(_seed(rng)):  # timm's crop draws from nothing else
        return _picture(crop(image))


def random_crop(
    image: Picture, rng: Generator, *, fill: Fill, padding: Annotated[float, Gt(0), Le(1)] = 0.125
) -> Picture:
    """Pad every side by a share of its length, then cut the image's own size out at random."""
    width, height = image.size
    across, down = round(width * padding), round(height * padding)
    wide = Image.new(image.mode, (width + 2 * across, height + 2 * down), mean_color(image, fill))
    wide.paste(image, (across, down))
    left, top = int(rng.integers(2 * across + 1)), int(rng.integers(2 * down + 1))
    return wide.crop((left, top, left + width, top + height))


def resize(
    image: Picture,
    rng: Generator,  # noqa: ARG001  # the contract of the table
    *,
    size: tuple[int, int],
    interpolation: str,
) -> Picture:
    """Bring the whole image to the model's size, whatever its shape."""
    height, width = size
    return image.resize((width, height), Image.Resampling[interpolation.upper()])


def horizontal_flip(image: Picture, rng: Generator, *, p: Share = 0.5) -> Picture:
    """Exchange left and right with probability `p`."""
    return ImageOps.mirror(image) if rng.random() < p else image


def vertical_flip(image: Picture, rng: Generator, *, p: Share = 0.5) -> Picture:
    """Exchange top and bottom with probability `p`."""
    return ImageOps.flip(image) if rng.random() < p else image


def rotate(
    image: Picture, rng: Generator, *, fill: Fill, degrees: Annotated[float, Gt(0), Le(180)] = 15.0
) -> Picture:
    """Turn by an angle drawn evenly from -degrees to degrees; corners take the mean colour."""
    angle = rng.uniform(-degrees, degrees)
    return image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=mean_color(image, fill))


def color_jitter(
    image: Picture,
    rng: Generator,
    *,
    brightness: Strength = 0.4,
    contrast: Strength = 0.4,
    saturation: Strength = 0.4,
    hue: Annotated[float, Ge(0), Le(0.5)] = 0.0,
) -> Picture:
    """Change each property by a factor drawn from 1 - strength to 1 + strength, in random order.

    `hue` is shifted by -hue to hue turns of the colour circle; grey images keep theirs.
    """
    for name, amount in drawn_changes(
        rng, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue
    ):
        image = _ADJUST[name](image, amount)
    return image


def drawn_changes(
    rng: Generator, *, brightness: float, contrast: float, saturation: float, hue: float
) -> list[tuple[str, float]]:
    """Draw what `color_jitter` does to one image: properties in order, each with its amount."""
    changes: list[tuple[str, float]] = []
    for name, strength in (
        ("brightness", brightness),
        ("contrast", contrast),
        ("saturation", saturation),
    ):
        if strength:
            changes.append((name, rng.uniform(max(0.0, 1 - strength), 1 + strength)))
    if hue:
        changes.append(("hue", rng.uniform(-hue, hue)))
    return [(changes[at][0], float(changes[at][1])) for at in rng.permutation(len(changes))]


def grayscale(image: Picture, rng: Generator, *, p: Share = 0.2) -> Picture:
    """Take the colour away with probability `p`; the number of channels stays."""
    return image.convert("L").convert(image.mode) if rng.random() < p else image


def rand_augment(
    image: Picture,
    rng: Generator,
    *,
    fill: Fill,
    interpolation: str,
    magnitude: Annotated[int, Ge(0), Le(10)] = 9,
    operations: Annotated[int, Ge(1)] = 2,
    spread: Strength = 0.5,
) -> Picture:
    """Apply `operations` random operations of about `magnitude`, in timm's form of RandAugment.

    Each is applied with probability 0.5 (Cubuk et al. 2019); `spread` is the magnitude's sd.
    """
    config = f"rand-m{magnitude}-n{operations}-mstd{spread:g}-inc1"
    return _run_policy(config, image, rng, fill=fill, interpolation=interpolation)


def auto_augment(
    image: Picture,
    rng: Generator,
    *,
    fill: Fill,
    interpolation: str,
    policy: Literal["original", "originalr", "v0r", "3a"] = "original",
) -> Picture:
    """Apply one sub-policy of timm's AutoAugment (Cubuk et al. 2018); '3a' is DeiT III's."""
    return _run_policy(policy, image, rng, fill=fill, interpolation=interpolation)


def trivial_augment(image: Picture, rng: Generator, *, fill: Fill, interpolation: str) -> Picture:
    """Apply one operation of timm's set, its strength drawn evenly (Mueller and Hutter 2021)."""
    config = "rand-m10-n1-p1-mstd101-inc1"  # timm: above 100 means drawn evenly
    return _run_policy(config, image, rng, fill=fill, interpolation=interpolation)


def random_erasing(
    image: Picture,
    rng: Generator,
    *,
    fill: Fill,
    p: Share = 0.25,
    min_area: Share = 0.02,
    max_area: Share = 1 / 3,
    max_stretch: Annotated[float, Ge(1)] = 10 / 3,
) -> Picture:
    """Paint a random window over with the mean colour, with probability `p` (Zhong et al. 2017).

    Areas are shares of the image; `max_stretch` bounds height by width and width by height.
    """
    window = erased_window(
        image.size, rng, p=p, min_area=min_area, max_area=max_area, max_stretch=max_stretch
    )
    if window is None:
        return image
    erased = image.copy()
    erased.paste(mean_color(image, fill), window)
    return erased


def erased_window(
    size: tuple[int, int],
    rng: Generator,
    *,
    p: float,
    min_area: float,
    max_area: float,
    max_stretch: float,
) -> tuple[int, int, int, int] | None:
    """Draw what `random_erasing` paints over: left, top, right and bottom, or None for nothing."""
    if rng.random() >= p:
        return None
    area = size[0] * size[1] * rng.uniform(min(min_area, max_area), max_area)
    stretch = math.exp(rng.uniform(-math.log(max_stretch), math.log(max_stretch)))
    width = min(size[0], max(1, round(math.sqrt(area * stretch))))
    height = min(size[1], max(1, round(math.sqrt(area / stretch))))
    left = int(rng.integers(size[0] - width + 1))
    top = int(rng.integers(size[1] - height + 1))
    return left, top, left + width, top + height


_ADJUST: Mapping[str, Callable[[Picture, float], Picture]] = {
    "brightness": functional.adjust_brightness,
    "contrast": functional.adjust_contrast,
    "saturation": functional.adjust_saturation,
    "hue": functional.adjust_hue,
}

AUGMENTATIONS: Mapping[str, Callable[..., Picture]] = {
    "random_resized_crop": random_resized_crop,
    "random_crop": random_crop,
    "resize": resize,
    "horizontal_flip": horizontal_flip,
    "vertical_flip": vertical_flip,
    "rotate": rotate,
    "color_jitter": color_jitter,
    "grayscale": grayscale,
    "rand_augment": rand_augment,
    "auto_augment": auto_augment,
    "trivial_augment": trivial_augment,
    "random_erasing": random_erasing,
}


# Those that do the same whenever they do anything; `p` says how often.
_WITH_CHANCE = ("horizontal_flip", "vertical_flip", "grayscale")


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the model fills in: (height, width), interpolation by name, mean colour in 0..255."""

    size: tuple[int, int]
    interpolation: str
    fill: Fill


def make_augmentations(
    components: Sequence[Component], given: Given, *, folder: Path | None = None
) -> tuple[Augmentation, ...]:
    """Give a recipe's augmentations in order, options bound and the model's values filled in.

    Raises ComponentError for an unknown name or wrong options.
    """
    filled = asdict(given)
    return tuple(
        bind(component, AUGMENTATIONS, family="augmentation", folder=folder, filled=filled)
        for component in components
    )


def gives_size(augmentation: Augmentation) -> bool:
    """Say whether an augmentation gives images of the model's size: whether it takes `size`."""
    return "size" in inspect.signature(augmentation).parameters


def draws_at_random(component: Component) -> bool:
    """Say whether an augmentation may give another image at every turn."""
    if component.name == "resize":
        return False
    return component.name not in _WITH_CHANCE or component.options.get("p") not in (0, 1)


@contextlib.contextmanager
def python_random(rng: Generator) -> Iterator[None]:
    """Let the global generators of Python and NumPy, which timm uses, draw from `rng`.

    Side effect: sets both, and puts them back afterwards.
    """
    seed, numpy_state = _seed(rng), np.random.get_state()
    np.random.seed(seed)
    try:
        with _python_seeded(seed):
            yield
    finally:
        np.random.set_state(numpy_state)


@contextlib.contextmanager
def _python_seeded(seed: int) -> Iterator[None]:
    """Seed Python's global generator alone: NumPy's takes a quarter of a millisecond to put by."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def _seed(rng: Generator) -> int:
    return int(rng.integers(2**32))


def _run_policy(
    config: str, image: Picture, rng: Generator, *, fill: Fill, interpolation: str
) -> Picture:
    policy = _policy(config, image.size, mean_color(image, fill), interpolation)
    with python_random(rng):
        return _picture(policy(image))


@lru_cache(maxsize=64)
def _policy(
    config: str, size: tuple[int, int], color: int | Fill, interpolation: str
) -> Callable[[Picture], object]:
    """Build timm's policy with the settings of timm's own training transform."""
    settings = {
        "translate_const": int(min(size) * 0.45),
        "img_mean": color,
        "interpolation": Image.Resampling[interpolation.upper()],
        # At exactly 10 posterising would keep 0 bits, which Pillow refuses (so does timm's 'v0').
        "magnitude_max": 9.99,
    }
    if config.startswith("rand"):
        policy: Callable[[Picture], object] = rand_augment_transform(config, settings)
    else:
        policy = auto_augment_transform(config, settings)
    return policy


def mean_color(image: Picture, fill: Fill) -> int | Fill:
    """Give the mean colour for an image that may be grey where the model sees colour."""
    return round(sum(fill) / len(fill)) if image.mode == "L" else fill


def _picture(thing: object) -> Picture:
    if not isinstance(thing, Picture):
        raise TypeError(f"an augmentation gave {type(thing).__name__} instead of an image")
    return thing
