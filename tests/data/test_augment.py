import random

import numpy as np
import pytest
from PIL import Image

from hftune.data.augment import (
    AUGMENTATIONS,
    Augmentation,
    Given,
    gives_size,
    make_augmentations,
    python_random,
)
from hftune.errors import ComponentError
from hftune.recipe.schema import Component

GIVEN = Given(size=(24, 32), interpolation="bicubic", fill=(124, 116, 104))
GREY = Given(size=(24, 32), interpolation="bilinear", fill=(128,))


def make(name: str, *, given: Given = GIVEN, **options: object) -> Augmentation:
    return make_augmentations([Component(name=name, options=options)], given)[0]


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize(("mode", "given"), [("RGB", GIVEN), ("L", GIVEN), ("L", GREY)])
def test_augmentation_keeps_mode_and_gives_the_promised_size(
    name: str, mode: str, given: Given, photo: Image.Image
) -> None:
    image = photo.resize((70, 50)).convert(mode)
    augment = make(name, given=given)
    for seed in range(12):
        made = augment(image, np.random.default_rng(seed))
        assert made.mode == mode
        assert made.size == ((32, 24) if gives_size(augment) else (70, 50))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_draws_from_its_generator_alone(name: str, photo: Image.Image) -> None:
    image = photo.resize((70, 50))
    before = (random.getstate(), np.random.get_state()[1].tolist())
    augment = make(name)
    made = []
    for global_seed in (1, 2):
        random.seed(global_seed)
        np.random.seed(global_seed)
        made.append([augment(image, np.random.default_rng(seed)).tobytes() for seed in range(8)])
    assert made[0] == made[1]
    assert len(set(made[0])) > (name != "resize")  # it is random at all
    random.setstate(before[0])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_leaves_its_input_alone(name: str, photo: Image.Image) -> None:
    image = photo.resize((70, 50))
    before = image.tobytes()
    for seed in range(8):
        make(name)(image, np.random.default_rng(seed))
    assert image.tobytes() == before


def test_global_generators_go_on_as_if_nothing_happened() -> None:
    random.seed(3)
    np.random.seed(3)
    expected = (random.random(), np.random.random())
    random.seed(3)
    np.random.seed(3)
    with python_random(np.random.default_rng(0)):
        random.random()
        np.random.random()
    assert (random.random(), np.random.random()) == expected


def test_flips_mirror_exactly(photo: Image.Image) -> None:
    pixels = np.asarray(photo)
    rng = np.random.default_rng(0)
    assert np.array_equal(make("horizontal_flip", p=1.0)(photo, rng), pixels[:, ::-1])
    assert np.array_equal(make("vertical_flip", p=1.0)(photo, rng), pixels[::-1])
    assert make("horizontal_flip", p=0.0)(photo, rng) is photo


def test_flip_probability_is_kept(photo: Image.Image) -> None:
    flip, rng = make("horizontal_flip", p=0.3), np.random.default_rng(0)
    flipped = sum(flip(photo, rng) is not photo for _ in range(1000))
    assert 250 < flipped < 350  # sd 14.5


def test_random_crop_shows_the_mean_colour_at_most_by_the_padding(photo: Image.Image) -> None:
    image = Image.new("RGB", (40, 20), (0, 0, 0))
    crop = make("random_crop", padding=0.25)
    for seed in range(40):
        pixels = np.asarray(crop(image, np.random.default_rng(seed)))
        inside = (pixels == 0).all(axis=-1)
        assert inside.any(axis=0).sum() >= 30
        assert inside.any(axis=1).sum() >= 15
        assert set(map(tuple, pixels[~inside].tolist())) <= {GIVEN.fill}


def test_rotation_fills_corners_with_the_mean_colour() -> None:
    turned = make("rotate", degrees=45)(Image.new("RGB", (40, 40)), np.random.default_rng(2))
    assert turned.getpixel((0, 0)) == GIVEN.fill
    assert turned.getpixel((20, 20)) == (0, 0, 0)


def test_erased_window_has_the_mean_colour_and_a_bounded_area() -> None:
    erase = make("random_erasing", p=1.0, min_area=0.1, max_area=0.2, max_stretch=2.0)
    for seed in range(40):
        erased = np.asarray(erase(Image.new("RGB", (100, 100)), np.random.default_rng(seed)))
        share = (erased == GIVEN.fill).all(axis=-1).mean()
        assert 0.09 < share < 0.21  # whole pixels


def test_jitter_of_no_strength_changes_nothing(photo: Image.Image) -> None:
    jitter = make("color_jitter", brightness=0, contrast=0, saturation=0)
    assert jitter(photo, np.random.default_rng(0)) is photo


def test_stronger_policies_change_more(photo: Image.Image) -> None:
    image = photo.resize((64, 64))

    def change(magnitude: int) -> float:
        augment = make("rand_augment", magnitude=magnitude, operations=2, spread=0)
        changes = [
            np.abs(np.subtract(augment(image, np.random.default_rng(seed)), image, dtype=float))
            for seed in range(60)
        ]
        return float(np.mean(changes))

    assert change(10) > change(1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(
            ("auto_augment", {"policy": policy})
            for policy in ("original", "originalr", "v0r", "3a")
        ),
        ("rand_augment", {"magnitude": 10}),
        ("trivial_augment", {}),
    ],
)
def test_policies_of_timm_run_at_full_strength(name: str, options: dict[str, object]) -> None:
    # At magnitude 10 timm posterises to 0 bits, which Pillow 12 and newer refuse.
    image = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    augment = make(name, **options)
    for seed in range(400):
        assert augment(image, np.random.default_rng(seed)).size == (8, 8)


@pytest.mark.parametrize(
    ("component", "words"),
    [
        (Component(name="horizontl_flip"), "did you mean 'horizontal_flip'"),
        (Component(name="horizontal_flip", options={"p": 1.5}), "p"),
        (Component(name="rotate", options={"angle": 3}), "angle"),
        (Component(name="rotate", options={"fill": [1, 2, 3]}), "fill"),
    ],
)
def test_wrong_name_or_option_is_refused(component: Component, words: str) -> None:
    with pytest.raises(ComponentError) as caught:
        make_augmentations([component], GIVEN)
    assert words in str(caught.value)
