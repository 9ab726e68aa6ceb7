import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hftune.data.decode import decode
from hftune.errors import DataError

ORIENTATION = 0x0112


def stored(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def pixels(source: bytes | Path) -> np.ndarray:
    return np.asarray(decode(source, name="it"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation: int) -> None:
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    # How a camera stores it (EXIF 2.3, table 6): the transform that orientation undoes.
    undo = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a.T, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = stored(Image.fromarray(np.ascontiguousarray(undo(upright))), exif=exif)
    assert pixels(content).tolist() == upright.tolist()


def test_damaged_exif_does_not_hide_a_good_image() -> None:
    grey = Image.new("L", (4, 3), 90)
    content = stored(
        grey, "JPEG", exif=b"Exif\x00\x00" + b"MM\x00*" + struct.pack(">I", 8) + b"\xff"
    )
    assert pixels(content).shape == (3, 4)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_images_stay_grey(mode: str) -> None:
    image = Image.new(mode, (4, 3), 255 if mode == "L" else 1)
    decoded = decode(stored(image), name="it")
    assert (decoded.mode, decoded.getpixel((0, 0))) == ("L", 255)


def test_palette_becomes_its_colours() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    assert pixels(stored(image)).tolist() == [[[10, 20, 30], [200, 100, 50]]]


def test_transparent_palette_is_laid_over_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    content = stored(image, transparency=bytes([0, 255]))
    assert pixels(content).tolist() == [[[255, 255, 255], [200, 100, 50]]]


def test_alpha_is_laid_over_white() -> None:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(10, 20, 30, 255), (10, 20, 30, 0), (0, 0, 0, 51)])
    assert pixels(stored(image)).tolist() == [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]


def test_grey_with_alpha_stays_grey() -> None:
    image = Image.new("LA", (2, 1))
    image.putdata([(70, 255), (70, 0)])
    decoded = decode(stored(image), name="it")
    assert decoded.mode == "L"
    assert np.asarray(decoded).tolist() == [[70, 255]]


def test_cmyk_becomes_rgb() -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan: red
    decoded = decode(stored(image, "TIFF"), name="it")
    assert (decoded.mode, decoded.getpixel((3, 3))) == ("RGB", (255, 0, 0))


def test_cmyk_jpeg_becomes_rgb() -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = decode(stored(image, "JPEG", quality=95), name="it").getpixel((3, 3))
    assert np.abs(np.subtract(red, (255, 0, 0))).max() <= 4


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_values_are_scaled_not_cut(form: str) -> None:
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    assert pixels(stored(Image.fromarray(values), form)).tolist() == [[0, 1, 128, 255]]


def test_16_bit_big_endian_values_are_scaled() -> None:
    values = Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 257 * 7, 257 * 200))
    assert pixels(stored(values, "TIFF")).tolist() == [[7, 200]]


def test_32_bit_integers_are_read_as_16_bit_values() -> None:
    values = np.array([[0, 257 * 9, 65535]], dtype=np.int32)
    assert pixels(stored(Image.fromarray(values), "TIFF")).tolist() == [[0, 9, 255]]


@pytest.mark.parametrize(
    ("values", "expected"), [([0.0, 0.5, 1.0], [0, 128, 255]), ([0.0, 9.0, 255.0], [0, 9, 255])]
)
def test_floating_point_values_are_scaled(values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert pixels(stored(image, "TIFF")).tolist() == [expected]


@pytest.mark.parametrize("values", [[-1.0, 0.0], [0.0, 70000.0], [0.0, float("nan")]])
def test_values_of_unknown_range_are_refused(values: list[float]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.float32))
    with pytest.raises(DataError, match="cannot be read"):
        decode(stored(image, "TIFF"), name="it")


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    content = stored(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(content, name="it").getpixel((0, 0)) == (255, 0, 0)


def test_file_is_read_by_its_path(tmp_path: Path, photo: Image.Image) -> None:
    photo.save(tmp_path / "portrait.png")
    assert np.array_equal(pixels(tmp_path / "portrait.png"), np.asarray(photo))


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", stored(Image.new("RGB", (64, 64)))[:60], b"\x89PNG\r\n\x1a\n" + bytes(40)],
    ids=["empty", "text", "cut short", "broken header"],
)
def test_damaged_image_is_named(content: bytes) -> None:
    with pytest.raises(DataError) as caught:
        decode(content, name="cats/7.png")
    assert caught.value.where == "cats/7.png"
    assert caught.value.found


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        decode(tmp_path / "gone.png", name="gone.png")
    assert caught.value.where == "gone.png"


def test_image_of_absurd_size_is_refused() -> None:
    # 200 million pixels of one colour take a few kilobytes: Pillow's guard against such bombs.
    content = bytearray(stored(Image.new("1", (64, 64))))
    content[16:24] = struct.pack(">2I", 20_000, 10_000)
    header_crc = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    content[29:33] = header_crc
    with pytest.raises(DataError) as caught:
        decode(bytes(content), name="bomb.png")
    assert "DecompressionBomb" in str(caught.value.found)


def enlarged(photo: Image.Image, width: int) -> Image.Image:
    """The photograph at another size, with grain in every pixel."""
    large = photo.resize((width, width * photo.height // photo.width), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).normal(0, 6, size=(large.height, large.width, 1))
    return Image.fromarray((np.asarray(large) + grain).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("draft", "size"), [(500, (512, 600)), (512, (512, 600)), (513, (1024, 1200))]
)
def test_draft_leaves_no_less_than_was_asked_for(
    photo: Image.Image, draft: int, size: tuple[int, int]
) -> None:
    content = stored(enlarged(photo, 1024), "JPEG")
    assert decode(content, name="it", draft=draft).size == size


def test_draft_of_a_turned_image_is_upright(photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    content = stored(enlarged(photo, 1024), "JPEG", exif=exif)
    assert decode(content, name="it", draft=512).size == (600, 512)


def test_draft_changes_no_other_format(photo: Image.Image) -> None:
    content = stored(photo)
    assert np.array_equal(np.asarray(decode(content, name="it", draft=100)), np.asarray(photo))


def test_draft_of_a_photograph_differs_little_once_it_is_resized(photo: Image.Image) -> None:
    content = stored(enlarged(photo, 1536), "JPEG", quality=90)
    images = [decode(content, name="it"), decode(content, name="it", draft=3 * 224)]
    assert [image.width for image in images] == [1536, 768]
    small = [np.asarray(image.resize((224, 263), Image.Resampling.BICUBIC)) for image in images]
    difference = np.abs(np.subtract(*small, dtype=np.int16))
    assert difference.max() <= 4
    assert difference.mean() < 0.3


def test_what_is_decoded_stands_alone(tmp_path: Path, photo: Image.Image) -> None:
    photo.save(tmp_path / "it.jpg")
    image = decode(tmp_path / "it.jpg", name="it")
    before = np.asarray(image).copy()
    (tmp_path / "it.jpg").unlink()
    image.load()
    assert np.array_equal(np.asarray(image.copy()), before)
