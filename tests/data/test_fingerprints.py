import numpy as np
import pytest
from PIL import Image

from hftune.data.decode import decode
from hftune.data.fingerprints import Fingerprints, fingerprint, join, no_fingerprints
from tests.data.conftest import draw
from tests.data.test_decode import ORIENTATION, stored


def of(content: bytes) -> Fingerprints:
    return fingerprint(decode(content, name="it"))


def same_digest(one: Fingerprints, other: Fingerprints) -> bool:
    return bool((one.digests == other.digests).all())


@pytest.mark.parametrize("form", ["BMP", "TIFF", "PPM"])
def test_digest_is_of_the_pixels_not_of_the_file(form: str) -> None:
    assert same_digest(of(stored(draw(1))), of(stored(draw(1), form)))
    assert not same_digest(of(stored(draw(1))), of(stored(draw(2))))


def test_digest_is_of_the_upright_image() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    lying = draw(1).transpose(Image.Transpose.ROTATE_90)
    assert same_digest(of(stored(draw(1))), of(stored(lying, exif=exif)))
    assert not same_digest(of(stored(draw(1))), of(stored(lying)))


def test_grey_image_stored_as_rgb_has_the_same_digest() -> None:
    grey = draw(1).convert("L")
    assert same_digest(of(stored(grey)), of(stored(grey.convert("RGB"))))


def test_digest_knows_one_changed_value_and_the_shape() -> None:
    pixels = np.full((4, 6, 3), 7, dtype=np.uint8)
    changed = pixels.copy()
    changed[3, 5, 2] = 8
    reshaped = pixels.reshape(6, 4, 3)
    digests = {
        fingerprint(Image.fromarray(array)).digests.tobytes()
        for array in (pixels, changed, reshaped)
    }
    assert len(digests) == 3


def test_shapes_and_types(photo: Image.Image) -> None:
    one = fingerprint(photo)
    assert (one.digests.shape, one.digests.dtype) == ((1, 16), np.uint8)
    assert (one.hashes.shape, one.hashes.dtype) == ((1,), np.uint64)
    assert (one.copies.shape, one.copies.dtype) == ((1, 16, 16), np.uint8)
    assert (one.colours.shape, one.colours.dtype) == ((1, 3), np.uint8)
    assert len(one) == 1


def test_colour_is_the_mean() -> None:
    assert fingerprint(Image.new("RGB", (40, 30), (10, 200, 30))).colours.tolist() == [
        [10, 200, 30]
    ]


def test_joined_prints_keep_their_order(photo: Image.Image) -> None:
    one, other = fingerprint(photo), fingerprint(draw(1))
    together = join([one, no_fingerprints(2), other])
    assert len(together) == 4
    assert same_digest(together.at(np.array([3])), other)
    assert together.hashes[0] == one.hashes[0]
    assert not together.copies[1:3].any()
