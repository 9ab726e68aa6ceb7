from pathlib import Path

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image

from hftune.core import InputSpec
from hftune.data.image_input import (
    eval_transform,
    model_inputs,
    normalise,
    to_pixels,
    train_transform,
)
from hftune.errors import ComponentError, ModelError
from hftune.recipe.schema import Component
from tests.data.conftest import small_spec


def timms(spec: InputSpec, image: Image.Image) -> torch.Tensor:
    """What timm itself gives for this configuration."""
    transform = timm.data.create_transform(
        input_size=(spec.channels, spec.height, spec.width),
        is_training=False,
        interpolation=spec.interpolation,
        mean=spec.mean,
        std=spec.std,
        crop_pct=spec.crop_fraction,
        crop_mode=spec.crop_mode,
    )
    tensor: torch.Tensor = transform(image.convert("RGB" if spec.channels == 3 else "L"))
    return tensor


def ours(spec: InputSpec, image: Image.Image) -> torch.Tensor:
    return normalise(eval_transform(spec)(image)[None], spec)[0]


@pytest.mark.parametrize("crop_fraction", [0.875, 0.95, 1.0])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(224, 224), (96, 160)])
def test_evaluation_equals_timm_bit_for_bit(
    photo: Image.Image,
    crop_fraction: float,
    interpolation: str,
    crop_mode: str,
    size: tuple[int, int],
) -> None:
    spec = small_spec(
        height=size[0],
        width=size[1],
        crop_fraction=crop_fraction,
        interpolation=interpolation,
        crop_mode=crop_mode,
    )
    for box in ((0, 0, 512, 600), (101, 80, 402, 517), (200, 100, 239, 590), (0, 300, 500, 333)):
        image = photo.crop(box)
        assert torch.equal(ours(spec, image), timms(spec, image))
        assert torch.equal(ours(spec, image.convert("L")), timms(spec, image.convert("L")))


def test_evaluation_of_a_grey_model_equals_timm(photo: Image.Image) -> None:
    spec = small_spec(channels=1, mean=(0.5,), std=(0.25,), crop_mode="border")
    assert torch.equal(ours(spec, photo), timms(spec, photo))
    assert ours(spec, photo).shape == (1, 24, 32)


def test_normalised_batch_is_contiguous_float32() -> None:
    batch = normalise(torch.zeros(2, 3, 24, 32, dtype=torch.uint8), small_spec())
    assert batch.dtype == torch.float32
    assert batch.is_contiguous()
    assert batch[0, 0, 0, 0] == pytest.approx(-0.485 / 0.229)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("sent", [torch.contiguous_format, torch.channels_last])
def test_pixels_are_normalised_to_the_same_bits_in_any_layout(
    channels: int, layout: torch.memory_format, sent: torch.memory_format
) -> None:
    """Against the plain arithmetic of timm: divide by 255, subtract the mean, divide by the sd."""
    spec = small_spec(channels=channels, mean=(0.485, 0.456, 0.406)[:channels],
                      std=(0.229, 0.224, 0.225)[:channels])  # fmt: skip
    every = torch.arange(256, dtype=torch.uint8).repeat(9)[: 3 * 24 * 32]
    pixels = torch.stack(
        [every.view(3, 24, 32)[:channels], every.flip(0).view(3, 24, 32)[:channels]]
    )
    mean, std = (torch.tensor(value).view(1, -1, 1, 1) for value in (spec.mean, spec.std))
    inputs = model_inputs(
        pixels.contiguous(memory_format=sent), spec, device=torch.device("cpu"), layout=layout
    )
    assert torch.equal(inputs, (pixels.float() / 255 - mean) / std)
    assert inputs.is_contiguous(memory_format=layout)


def test_features_are_no_pixels() -> None:
    features = torch.randn(4, 7)
    layout = torch.channels_last
    inputs = model_inputs(features, small_spec(), device=torch.device("cpu"), layout=layout)
    assert torch.equal(inputs, features)


def test_pixels_are_channels_first_uint8() -> None:
    image = Image.new("RGB", (5, 4), (1, 2, 3))
    pixels = to_pixels(image)
    assert (pixels.dtype, tuple(pixels.shape)) == (torch.uint8, (3, 4, 5))
    assert pixels[:, 0, 0].tolist() == [1, 2, 3]
    assert tuple(to_pixels(image.convert("L")).shape) == (1, 4, 5)


def test_training_without_augmentation_is_evaluation(photo: Image.Image) -> None:
    spec = small_spec()
    trained = train_transform(spec, [])(photo, np.random.default_rng(0))
    assert torch.equal(trained, eval_transform(spec)(photo))


def test_training_without_a_crop_starts_from_evaluation(photo: Image.Image) -> None:
    spec = small_spec()
    flip = train_transform(spec, [Component(name="horizontal_flip", options={"p": 1.0})])
    flipped = flip(photo, np.random.default_rng(0))
    assert torch.equal(flipped, eval_transform(spec)(photo).flip(-1))


def test_random_crop_replaces_the_geometry_of_evaluation(photo: Image.Image) -> None:
    transform = train_transform(small_spec(), [Component(name="random_resized_crop")])
    one, other = (transform(photo, np.random.default_rng(seed)) for seed in (0, 1))
    assert one.shape == other.shape == (3, 24, 32)
    assert not torch.equal(one, other)
    assert torch.equal(one, transform(photo, np.random.default_rng(0)))


def test_grey_image_gives_three_equal_channels(photo: Image.Image) -> None:
    augment = [Component(name="random_resized_crop"), Component(name="color_jitter")]
    pixels = train_transform(small_spec(), augment)(photo.convert("L"), np.random.default_rng(0))
    assert pixels.shape == (3, 24, 32)
    assert torch.equal(pixels[0], pixels[1])
    assert torch.equal(pixels[0], pixels[2])


def test_channels_that_images_do_not_have_are_refused() -> None:
    with pytest.raises(ModelError, match="cannot be made for this model's channels"):
        eval_transform(small_spec(channels=4, mean=(0.5,) * 4, std=(0.5,) * 4))


def test_wrong_option_is_found_before_the_first_image() -> None:
    crop = Component(name="random_resized_crop", options={"min_scale": 0.9, "max_scale": 0.5})
    with pytest.raises(ComponentError, match="smallest crop is larger than the largest"):
        train_transform(small_spec(), [crop])


def test_augmentation_of_ones_own_is_found_in_a_file(tmp_path: Path, photo: Image.Image) -> None:
    (tmp_path / "mine.py").write_text(
        "def black(image, rng, *, size):\n"
        "    return image.resize((size[1], size[0])).point(lambda value: 0)\n"
        "def tiny(image, rng):\n"
        "    return image.resize((2, 2))\n"
    )
    transform = train_transform(small_spec(), [Component(name="./mine.py:black")], folder=tmp_path)
    assert transform(photo, np.random.default_rng(0)).max() == 0
    with pytest.raises(ComponentError) as caught:
        train_transform(small_spec(), [Component(name="./mine.py:tiny")], folder=tmp_path)
    assert caught.value.found == "2 x 2 pixels"
    assert caught.value.allowed == "32 x 24 pixels"
