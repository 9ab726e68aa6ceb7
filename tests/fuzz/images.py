"""Good images of every common format and mode, to be damaged; and files that pretend to be some."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

_FORMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "grey.jpg": ("JPEG", "L", {"quality": 80}),
    "progressive.jpg": ("JPEG", "RGB", {"progressive": True}),
    "cmyk.jpg": ("JPEG", "CMYK", {}),
    "rgb.png": ("PNG", "RGB", {}),
    "alpha.png": ("PNG", "RGBA", {}),
    "palette.png": ("PNG", "P", {"transparency": 3}),
    "deep.png": ("PNG", "I;16", {}),
    "animated.gif": ("GIF", "P", {"save_all": True}),
    "lossy.webp": ("WEBP", "RGB", {}),
    "lossless.webp": ("WEBP", "RGBA", {"lossless": True}),
    "plain.tiff": ("TIFF", "RGB", {}),
    "lzw.tiff": ("TIFF", "L", {"compression": "tiff_lzw"}),
    "jpeg.tiff": ("TIFF", "RGB", {"compression": "jpeg"}),
    "float.tiff": ("TIFF", "F", {}),
    "rgb.bmp": ("BMP", "RGB", {}),
    "palette.bmp": ("BMP", "P", {}),
}


def good_images() -> dict[str, bytes]:
    """Give small images by name, turned by EXIF where the format carries it."""
    return {name: _encoded(*form) for name, form in _FORMS.items()}


def pretenders() -> dict[str, bytes]:
    """Give files that are no images, or claim more than they hold."""
    return {
        "empty.jpg": b"",
        "zero.png": bytes(64),
        "page.jpg": b"<html><script>alert(1)</script></html>",
        "bomb.png": _png(60_000, 60_000, b""),
        "billion.png": _png(2**31 - 1, 2**31 - 1, b""),
        "flat.png": _png(0, 0, b""),
        "chunks.png": _png(8, 8, b"", extra=b"\xff\xff\xff\xfftEXt" + b"A" * 64),
        "wide.gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x91, 0, 0) + b";",
        "wide.bmp": b"BM" + struct.pack("<IHHIIiiHHI", 0, 0, 0, 54, 40, 2**30, -(2**30), 1, 24, 0),
        "loop.tiff": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
        "pickle.jpg": b"\x80\x04\x95\x0c\0\0\0\0\0\0\0\x8c\x02os\x94.",
        "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\nshowpage\n",
    }


def _encoded(form: str, mode: str, options: dict[str, Any]) -> bytes:
    rng = np.random.default_rng(len(mode))
    pixels = rng.integers(0, 256, (24, 32), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((32, 24))
    if mode == "I;16":
        image = Image.fromarray(pixels.astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(pixels.astype(np.float32) / 255)
    else:
        image = image.convert(mode)
    if options.get("save_all"):
        options = {**options, "append_images": [image.rotate(90)]}
    if form in ("JPEG", "PNG", "WEBP"):
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {**options, "exif": exif}
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _png(width: int, height: int, data: bytes, *, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))
