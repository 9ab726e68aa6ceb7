"""What an image says of itself before it is decoded: too much to decode, or worth a word."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Literal

from PIL import Image

from hftune.data.decode import DAMAGE, orientation_of, readable_formats
from hftune.errors import DataError

NoteKind = Literal["animated", "mode", "turned", "tiny", "extension"]

# What an image may take once it is decoded. Pillow itself refuses more than 178,956,970 pixels.
MOST_BYTES = 2**30
TINY_SIDE = 16

_PLAIN_MODES = frozenset({"L", "RGB"})
# 16-bit, 32-bit and floating-point values are scaled in double precision.
_WIDE_MODES = frozenset({"I", "F"})
# A photograph with a preview behind it is a JPEG file of several frames.
_SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something about an image that can be used: what it is, and what is done with it."""

    kind: NoteKind
    text: str


def read_header(source: bytes | Path, *, name: str) -> tuple[Note, ...]:
    """Give what is worth a word about an image, reading its header only.

    Nothing is said of what Pillow does not know. Raises DataError for an empty or an enormous one.
    """
    try:
        # Opened here, as decoding does: Pillow leaves a file open whose first bytes mean nothing.
        with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
            return _read(stream, source, name)
    except Image.DecompressionBombError as error:
        raise _refused(f"enormous: {error}", name) from error
    except DAMAGE:
        return ()  # decoding says what is wrong, in its own words


def decoded_bytes(source: bytes | Path, *, draft: int | None = None) -> int:
    """Give how many bytes `decode` makes of an image, by its header; 0 where it has none."""
    try:
        opened = BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        with opened as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's words about sizes
            with Image.open(stream, formats=readable_formats()) as image:
                if draft is not None:
                    image.draft(None, (draft, draft))
                return image.width * image.height * (1 if _becomes_grey(image.mode) else 3)
    except DAMAGE:
        return 0


def _becomes_grey(mode: str) -> bool:
    return mode in ("1", "L", "LA") or mode in _WIDE_MODES or mode.startswith("I;16")


def _read(stream: IO[bytes], source: bytes | Path, name: str) -> tuple[Note, ...]:
    if not stream.read(1):
        raise _refused("empty: 0 bytes", name)
    stream.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's words about sizes and damaged EXIF blocks
        with Image.open(stream, formats=readable_formats()) as image:
            _check_size(image, name)
            return tuple(_notes(image, source))


def _check_size(image: Image.Image, name: str) -> None:
    num_bytes = image.width * image.height * _bytes_per_pixel(image.mode)
    if num_bytes > MOST_BYTES:
        raise _refused(
            f"enormous: {image.width} x {image.height} pixels of mode {image.mode} take"
            f" {num_bytes / 2**30:.1f} GiB when decoded, more than {MOST_BYTES / 2**30:.0f} GiB",
            name,
        )


def _bytes_per_pixel(mode: str) -> int:
    if mode in _WIDE_MODES or mode.startswith("I;16"):
        return 8
    return 1 if mode in ("1", "L") else 4


def _refused(found: str, name: str) -> DataError:
    return DataError(
        "this image is not decoded",
        found=found,
        where=name,
        remedy="replace or remove it, or set data.on_bad_image=skip",
    )


def _notes(image: Image.Image, source: bytes | Path) -> Iterator[Note]:
    if _format(image) != "JPEG" and getattr(image, "is_animated", False):
        yield Note(kind="animated", text="several frames; the first is used")
    mode = _word_of_mode(image)
    if mode is not None:
        yield Note(kind="mode", text=mode)
    # Of a PNG file without EXIF at its head Pillow would decode the whole to look behind it.
    orientation = 1 if image.format == "PNG" and "exif" not in image.info else orientation_of(image)
    if orientation in range(2, 9):
        yield Note(kind="turned", text=f"EXIF orientation {orientation}; turned upright")
    if min(image.size) < TINY_SIDE:
        yield Note(kind="tiny", text=f"{image.width} x {image.height} pixels; enlarged")
    if isinstance(source, Path) and not _fits(source.suffix.lower(), _format(image)):
        yield Note(kind="extension", text=f"holds {_format(image)}; read as what it is")


def _word_of_mode(image: Image.Image) -> str | None:
    """Say what becomes of an unusual mode; None for plain grey, RGB and palettes."""
    mode = image.mode
    if mode in _WIDE_MODES or mode.startswith("I;16"):
        return f"mode {mode}; values scaled to 8 bit"
    if image.has_transparency_data:
        return f"mode {mode} with transparency; laid over white"
    if mode == "1":
        return "mode 1, black and white; taken as grey"
    return None if mode in _PLAIN_MODES or mode == "P" else f"mode {mode}; converted to RGB"


def _format(image: Image.Image) -> str:
    form = image.format or "an unknown format"
    return _SAME_FORMAT.get(form, form)


def _fits(suffix: str, form: str) -> bool:
    """Say whether a file name's suffix is of this format, or of none that is known."""
    registered = Image.registered_extensions().get(suffix)
    return registered is None or _SAME_FORMAT.get(registered, registered) == form
