"""Twins among real photographs, real solar cells and drawn fingerprints."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from hftune.data.decode import decode
from hftune.data.duplicates import (
    MOST_BITS,
    earlier_exact_twins,
    earlier_near_twins,
    exact_twins,
    near_twins,
)
from hftune.data.fingerprints import Fingerprints, fingerprint, join, no_fingerprints
from hftune.data.seed_elpv import read_cells
from tests.data.test_decode import ORIENTATION, stored

NONE = no_fingerprints(0)
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


def drawn(number: int, *, seed: int = 0) -> Fingerprints:
    """Draw fingerprints that have nothing in common."""
    rng = np.random.default_rng(seed)
    return Fingerprints(
        digests=rng.integers(0, 256, (number, 16), dtype=np.uint8),
        hashes=rng.integers(0, 2**64, number, dtype=np.uint64),
        copies=rng.integers(0, 256, (number, 16, 16), dtype=np.uint8),
        colours=rng.integers(0, 256, (number, 3), dtype=np.uint8),
    )


def changed(prints: Fingerprints, *, bits: int = 0, grey: int = 0, colour: int = 0) -> Fingerprints:
    """Give prints of other pixels that look as much alike as the numbers say."""
    level = np.where(prints.copies < 128, grey, -grey)
    tint = np.where(prints.colours < 128, colour, -colour)
    return Fingerprints(
        digests=prints.digests + np.uint8(1),
        hashes=prints.hashes ^ np.uint64(2**bits - 1),
        copies=(prints.copies + level).astype(np.uint8),
        colours=(prints.colours + tint).astype(np.uint8),
    )


def windows(photo: Image.Image) -> list[Image.Image]:
    """Cut a photograph into sixteen distinct ones."""
    places = [(x, y) for x in range(0, 512, 128) for y in range(0, 600, 150)]
    return [photo.crop((x, y, x + 128, y + 150)) for x, y in places]


def resized(image: Image.Image, share: float, how: Image.Resampling) -> Image.Image:
    return image.resize((round(image.width * share), round(image.height * share)), how)


def turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return stored(image.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=90)


DAMAGES: dict[str, Callable[[Image.Image], bytes]] = {
    "turned by EXIF": turned,
    "quality 50": lambda image: stored(image, "JPEG", quality=50),
    "quality 95": lambda image: stored(image, "JPEG", quality=95),
    "half": lambda image: stored(resized(image, 0.5, BILINEAR)),
    "double": lambda image: stored(resized(image, 2, BICUBIC)),
    "webp": lambda image: stored(image, "WEBP", quality=80),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_photographs_are_found_again_after(damage: str, photo: Image.Image) -> None:
    images = windows(photo)
    originals = join([fingerprint(image) for image in images])
    prints = join([fingerprint(decode(DAMAGES[damage](image), name="it")) for image in images])
    exact = exact_twins(prints, originals)
    assert exact.tolist() == [-1] * len(images)
    assert near_twins(prints, originals, exact).tolist() == list(range(len(images)))


def test_solar_cells_that_look_alike_are_told_apart_and_found_again() -> None:
    # Neighbours in the list come from one module; these differ by a faint mark or two.
    cells = [decode(cell.path, name="it") for cell in read_cells()[1290:1370]]
    originals = join([fingerprint(cell) for cell in cells])
    exact = earlier_exact_twins(originals)
    assert exact.tolist() == earlier_near_twins(originals, exact).tolist() == [-1] * len(cells)
    again = [decode(stored(cell, "JPEG", quality=50), name="it") for cell in cells]
    found = near_twins(join([fingerprint(cell) for cell in again]), originals, exact)
    assert (found == np.arange(len(cells))).mean() >= 0.98


def test_exact_twins_are_the_first_of_the_same_pixels() -> None:
    prints = drawn(4).at(np.array([2, 0, 1, 0, 3, 2]))
    assert earlier_exact_twins(prints).tolist() == [-1, -1, -1, 1, -1, 0]
    assert exact_twins(drawn(4), prints).tolist() == [1, 2, 0, 4]
    assert exact_twins(drawn(3, seed=5), prints).tolist() == [-1, -1, -1]


def test_near_twins_are_the_first_that_look_alike() -> None:
    one = drawn(5)
    again = changed(one, bits=3, grey=1)
    together = join([one, again, changed(again, bits=2)])
    exact = earlier_exact_twins(together)
    assert earlier_near_twins(together, exact).tolist() == [-1] * 5 + list(range(5)) * 2
    assert near_twins(again, together, np.full(5, -1)).tolist() == list(range(5))


def test_who_has_an_exact_twin_needs_no_near_one() -> None:
    one = drawn(3)
    among = join([changed(one, bits=1), one])
    exact = exact_twins(one, among)
    assert exact.tolist() == [3, 4, 5]
    assert near_twins(one, among, exact).tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        ({"bits": MOST_BITS}, True),
        ({"bits": MOST_BITS + 1}, False),
        ({"grey": 2}, True),  # drawn copies have a contrast of 74 levels: 4 % are about 3
        ({"grey": 5}, False),
        ({"colour": 4}, True),
        ({"colour": 5}, False),
    ],
)
def test_hash_copy_and_colour_all_have_to_agree(change: dict[str, int], alike: bool) -> None:
    one = drawn(20)
    found = near_twins(changed(one, **change), one, np.full(20, -1))
    assert found.tolist() == (list(range(20)) if alike else [-1] * 20)


def test_flat_images_differ_by_their_colour() -> None:
    levels = [(100, 100, 100), (101, 100, 100), (100, 120, 74), (104, 104, 104)]
    prints = join([fingerprint(Image.new("RGB", (30, 30), level)) for level in levels])
    assert earlier_near_twins(prints, earlier_exact_twins(prints)).tolist() == [-1, 0, -1, -1]


def test_blocks_leave_nothing_out() -> None:
    # More rows and columns than one block has, in an order that mixes them.
    number = 4500
    one = drawn(number)
    order = np.random.default_rng(3).permutation(number)
    found = near_twins(changed(one, bits=12).at(order), one, np.full(number, -1))
    assert np.array_equal(found, order)


def test_nothing_is_found_in_nothing() -> None:
    some, none = drawn(3), np.full(3, -1)
    assert exact_twins(some, NONE).tolist() == near_twins(some, NONE, none).tolist() == [-1] * 3
    assert len(exact_twins(NONE, some)) == len(near_twins(NONE, some, none[:0])) == 0
    assert len(earlier_near_twins(NONE, none[:0])) == 0
