"""Headers of real files, each made by Pillow."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hftune.data.decode import decode
from hftune.data.header import Note, decoded_bytes, read_header
from hftune.errors import DataError
from tests.data.test_decode import ORIENTATION, stored
from tests.fuzz.images import good_images


def kinds(source: bytes | Path) -> list[str]:
    return [note.kind for note in read_header(source, name="it")]


def bomb(width: int, height: int, *, depth: int = 1) -> bytes:
    """A small PNG file whose header promises a huge grey image."""
    content = bytearray(stored(Image.new("1", (64, 64))))
    content[16:25] = struct.pack(">2IB", width, height, depth)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    return bytes(content)


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_of_a_plain_image_there_is_nothing_to_say(mode: str, photo: Image.Image) -> None:
    assert kinds(stored(photo.convert(mode))) == []


@pytest.mark.parametrize(
    ("mode", "form", "words"),
    [
        ("1", "PNG", "mode 1, black and white; taken as grey"),
        ("LA", "PNG", "mode LA with transparency; laid over white"),
        ("RGBA", "PNG", "mode RGBA with transparency; laid over white"),
        ("CMYK", "JPEG", "mode CMYK; converted to RGB"),
        ("F", "TIFF", "mode F; values scaled to 8 bit"),
        ("I", "TIFF", "mode I; values scaled to 8 bit"),
        ("I;16", "PNG", "mode I;16; values scaled to 8 bit"),
    ],
)
def test_unusual_modes_come_with_what_is_done(mode: str, form: str, words: str) -> None:
    content = stored(Image.new(mode, (32, 32)), form)
    assert read_header(content, name="it") == (Note(kind="mode", text=words),)


def test_palette_with_transparency_is_named() -> None:
    image = Image.new("P", (32, 32))
    image.putpalette([10, 20, 30, 200, 100, 50])
    (note,) = read_header(stored(image, transparency=bytes([0, 255])), name="it")
    assert note.text == "mode P with transparency; laid over white"


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_several_frames_are_named(form: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    assert "animated" in kinds(stored(frames[0], form, save_all=True, append_images=frames[1:]))
    assert "animated" not in kinds(stored(frames[0], form))


def test_photograph_with_a_preview_behind_it_is_no_animation(
    tmp_path: Path, photo: Image.Image
) -> None:
    path = tmp_path / "phone.jpg"
    photo.save(path, "MPO", save_all=True, append_images=[photo.resize((64, 75))])
    assert kinds(path) == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_images_are_named(orientation: int, photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    expected = [] if orientation == 1 else ["turned"]
    assert kinds(stored(photo, "JPEG", exif=exif)) == expected


@pytest.mark.parametrize(("size", "expected"), [((15, 400), ["tiny"]), ((16, 16), [])])
def test_tiny_images_are_named(size: tuple[int, int], expected: list[str]) -> None:
    assert kinds(stored(Image.new("RGB", size))) == expected


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("a.png", "PNG", []),
        ("a.jpeg", "JPEG", []),
        ("a.JPG", "JPEG", []),
        ("a.jfif", "JPEG", []),
        ("a.jpg", "PNG", ["extension"]),
        ("a.png", "WEBP", ["extension"]),
        ("a.unknown", "PNG", []),
    ],
)
def test_wrong_extension_is_named(
    tmp_path: Path, name: str, form: str, expected: list[str]
) -> None:
    path = tmp_path / name
    Image.new("RGB", (32, 32)).save(path, form)
    assert kinds(path) == expected


def test_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    for source in (b"", tmp_path / "a.png"):
        with pytest.raises(DataError) as caught:
            read_header(source, name="a.png")
        assert (caught.value.found, caught.value.where) == ("empty: 0 bytes", "a.png")


def test_decompression_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(DataError) as caught:
        read_header(bomb(20_000, 10_000), name="bomb.png")
    assert "200000000 pixels" in str(caught.value.found)
    assert "178956970" in str(caught.value.found)


def test_image_that_takes_too_much_memory_is_refused_by_its_header() -> None:
    # 140 million grey values of 16 bit: 8 bytes each while they are scaled.
    with pytest.raises(DataError) as caught:
        read_header(bomb(14_000, 10_000, depth=16), name="wide.png")
    assert caught.value.found == (
        "enormous: 14000 x 10000 pixels of mode I;16 take 1.0 GiB when decoded, more than 1 GiB"
    )
    # The same size at 8 bit is large, not enormous, and no warning reaches the user.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kinds(bomb(14_000, 10_000, depth=8)) == []


@pytest.mark.parametrize("content", [b"no image", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_what_is_damaged_is_left_to_decoding(content: bytes, tmp_path: Path) -> None:
    assert kinds(content) == []
    assert kinds(tmp_path / "gone.png") == []


def refusal(content: bytes) -> str | None:
    try:
        read_header(content, name="it")
    except DataError as error:
        return error.found
    return None


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP"])
def test_damaged_headers_end_in_nothing_else_than_a_refusal(form: str, photo: Image.Image) -> None:
    rng = np.random.default_rng(0)
    content = stored(photo.resize((64, 75)), form)
    for _ in range(50):
        damaged = bytearray(content)
        for place in rng.integers(4, min(len(damaged), 400), size=8):
            damaged[place] = rng.integers(256)
        assert (refusal(bytes(damaged)) or "enormous").startswith("enormous")


@pytest.mark.parametrize("draft", [None, 8])
@pytest.mark.parametrize("name", good_images())
def test_what_an_image_takes_once_decoded_is_known_from_its_header(
    name: str, draft: int | None
) -> None:
    content = good_images()[name]
    pixels = np.asarray(decode(content, name=name, draft=draft))
    assert decoded_bytes(content, draft=draft) == pixels.nbytes


def test_what_is_no_image_takes_nothing() -> None:
    assert decoded_bytes(b"no image") == 0
