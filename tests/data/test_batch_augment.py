"""Augmentations of whole batches give the pixels that they give image by image, bit for bit."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hftune.data.augment import Given, make_augmentations
from hftune.data.batch_augment import apply_deferred, defer, draw_deferred
from hftune.data.image_input import to_pixels
from hftune.recipe.schema import Component

GIVEN = Given(size=(48, 64), interpolation="bicubic", fill=(124, 116, 104))
NUM_IMAGES = 24

LISTS = {
    "horizontal_flip": [Component(name="horizontal_flip")],
    "vertical_flip": [Component(name="vertical_flip", options={"p": 0.3})],
    "grayscale": [Component(name="grayscale", options={"p": 0.5})],
    "random_erasing": [Component(name="random_erasing", options={"p": 0.7})],
    "color_jitter": [Component(name="color_jitter")],
    "strong": [Component(name="color_jitter", options={"contrast": 1.5, "brightness": 2.0})],
    "one": [
        Component(name="color_jitter", options={"contrast": 0, "brightness": 0, "saturation": 1})
    ],
    "none": [
        Component(name="color_jitter", options={"contrast": 0, "brightness": 0, "saturation": 0})
    ],
    "all": [
        Component(name="color_jitter"),
        Component(name="grayscale"),
        Component(name="random_erasing"),
        Component(name="vertical_flip"),
        Component(name="horizontal_flip"),
    ],
}


def windows(photo: Image.Image) -> list[Image.Image]:
    """Different parts of a photograph, every third of them grey."""
    parts = [photo.crop((9 * n, 11 * n, 9 * n + 64, 11 * n + 48)) for n in range(NUM_IMAGES)]
    return [part.convert("L") if n % 3 == 2 else part for n, part in enumerate(parts)]


def stacked(images: Sequence[Image.Image], mode: str) -> Tensor:
    return torch.stack([to_pixels(image.convert(mode)) for image in images])


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_batches_take_what_their_images_would_have_taken(
    name: str, channels: int, photo: Image.Image
) -> None:
    mode = "L" if channels == 1 else "RGB"
    images = [image.convert("L") if channels == 1 else image for image in windows(photo)]
    given = Given(size=GIVEN.size, interpolation="bicubic", fill=GIVEN.fill[:channels])
    augmentations = make_augmentations(LISTS[name], given)
    singly = []
    for seed, image in enumerate(images):
        rng = np.random.default_rng(seed)
        for augment in augmentations:
            image = augment(image, rng)
        singly.append(image)
    early, late = defer(augmentations, channels=channels)
    assert early == ()
    drawn = [
        draw_deferred(late, image, np.random.default_rng(seed)) for seed, image in enumerate(images)
    ]
    numbers = torch.tensor(drawn, dtype=torch.float64).view(NUM_IMAGES, -1)
    together = apply_deferred(late, stacked(images, mode), numbers)
    assert torch.equal(together, stacked(singly, mode))
    if name != "none" and channels == 3:
        assert not torch.equal(together, stacked(images, mode))


def test_only_the_end_of_a_list_waits_for_the_batch() -> None:
    names = ["random_resized_crop", "horizontal_flip", "rand_augment", "color_jitter", "grayscale"]
    augmentations = make_augmentations([Component(name=name) for name in names], GIVEN)
    early, late = defer(augmentations, channels=3)
    assert early == augmentations[:3]
    assert len(late) == 2


def test_hue_is_changed_image_by_image() -> None:
    jitter = Component(name="color_jitter", options={"hue": 0.1})
    augmentations = make_augmentations([jitter, Component(name="horizontal_flip")], GIVEN)
    early, late = defer(augmentations, channels=3)
    assert early == augmentations[:1]
    assert len(late) == 1
