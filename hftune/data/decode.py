"""Bytes or a file -> one upright 8-bit image of mode L or RGB, whatever was stored."""

import struct
import warnings
import zlib
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from hftune.data.patience import Patience
from hftune.errors import DataError

# Nothing else is opened: of Pillow's other formats some hand the file to another program (EPS).
FORMATS = ["JPEG", "MPO", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "AVIF"]
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's readers raise for damaged, cut short or oversized files.
DAMAGE = (
    OSError,
    SyntaxError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    NotImplementedError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_PATIENCE = Patience()


def decode(source: bytes | Path, *, name: str, draft: int | None = None) -> Image.Image:
    """Read one image: the first frame, turned upright by its EXIF orientation, mode L or RGB.

    Transparency is laid over white. 16-bit and floating-point values are scaled to 8 bit, not
    cut. `name` stands for the image in messages. With `draft` a JPEG comes at the smallest of full,
    half, quarter and eighth size whose sides have at least so many pixels: libjpeg then leaves out
    the work for the rest. A file that the system fails to give is asked for a few times, with short
    pauses. Raises DataError for what cannot be read.
    """
    try:
        return _PATIENCE.read(lambda: _decode(source, draft))
    except DAMAGE as error:
        # Pillow names the open file by its address in memory.
        unknown = isinstance(error, UnidentifiedImageError)
        words = f"cannot identify image file '{name}'" if unknown else str(error)
        raise DataError(
            "this image cannot be read",
            found=f"{type(error).__name__}: {words}",
            where=name,
            remedy="replace or remove it, or set data.on_bad_image=skip",
        ) from error


def _decode(source: bytes | Path, draft: int | None) -> Image.Image:
    # Opened here: Pillow leaves a file open whose first bytes cannot be read, and maps others into
    # memory, where one that is cut short meanwhile kills the process.
    opened = BytesIO(source) if isinstance(source, bytes) else source.open("rb")
    with opened as stream, warnings.catch_warnings():
        # Pillow's words about a damaged EXIF block of an image that is whole otherwise.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        with Image.open(stream, formats=readable_formats()) as image:
            if draft is not None:
                image.draft(None, (draft, draft))
            image.load()
            turn = _TURNS.get(orientation_of(image))
            plain = to_grey_or_rgb(image)
            return plain if turn is None else plain.transpose(turn)


@cache
def readable_formats() -> tuple[str, ...]:
    """Give those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def to_grey_or_rgb(image: Image.Image) -> Image.Image:
    """Give an 8-bit image without transparency: mode L for grey values, RGB for all others.

    Raises ValueError for values whose range is unknown.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _scale_to_8_bit(image)
    if image.has_transparency_data:
        return _over_white(image)
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def orientation_of(image: Image.Image) -> int:
    """Give the EXIF orientation 1..8; 1 where there is none or the EXIF block is damaged."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except DAMAGE:
        return 1


def _over_white(image: Image.Image) -> Image.Image:
    """Lay transparent pixels over white; grey with alpha stays grey."""
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    layer = image.convert("RGBA")
    white = Image.new(mode, image.size, "white")
    white.paste(layer.convert(mode), mask=layer.getchannel("A"))
    return white


def _scale_to_8_bit(image: Image.Image) -> Image.Image:
    """Scale 0..65535 (integers), 0..1 or 0..255 (floating point) to 0..255, mode L."""
    with np.errstate(invalid="ignore"):  # damage can look like a NaN that signals; refused below
        values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= 65535 or (image.mode == "F" and high > 255):
        raise ValueError(
            f"grey values from {low:g} to {high:g} in mode {image.mode} have no known range"
        )
    top = 65535 if image.mode != "F" else 255 if high > 1 else 1
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))
