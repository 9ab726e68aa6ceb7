"""Pixels as pictures of bounded size, and a heat map over one."""

from io import BytesIO

import matplotlib as mpl
import numpy as np
import torch
from PIL.Image import Image, Resampling
from PIL.Image import fromarray as from_array
from torch import Tensor

# Its steps look equal to the eye, also to the colour-blind and in grey.
COLORS = "inferno"
_SIDE = 224
_QUALITY = 80
# How much of the colour covers the image: it is still seen where the map is bright.
_COVER = 0.6
_THIRDS = (("upper left", "top", "upper right"), ("left", "middle", "right"),
           ("lower left", "bottom", "lower right"))  # fmt: skip


def picture_of(pixels: Tensor) -> Image:
    """Give uint8 [C, H, W] as an image whose longer side has 224 pixels."""
    array = pixels.permute(1, 2, 0).squeeze(-1).numpy()
    image = from_array(array)
    scale = _SIDE / max(image.size)
    sides = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(sides, Resampling.LANCZOS)


def overlaid(image: Image, heat: Tensor, *, most: float) -> Image:
    """Lay a map [h, w] over an image; `most` is the value of the brightest colour."""
    size = (image.height, image.width)
    smooth = torch.nn.functional.interpolate(heat[None, None], size, mode="bilinear")[0, 0]
    share = (smooth / most).clamp(0, 1).numpy() if most > 0 else np.zeros(size)
    colors = mpl.colormaps[COLORS](share)[..., :3] * 255
    grey = np.asarray(image.convert("L"), dtype=float)[..., None]
    mixed = (1 - _COVER) * grey + _COVER * colors
    return from_array(mixed.round().astype(np.uint8))


def brightest_place(heat: Tensor) -> str:
    """Say in which ninth of the image a map [h, w] is highest; 'nowhere' where it is zero."""
    if not bool(heat.any()):
        return "nowhere"
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    middle = ((row + 0.5) / heat.shape[0], (column + 0.5) / heat.shape[1])
    return _THIRDS[int(3 * middle[0])][int(3 * middle[1])]


def legend_colors(number: int = 9) -> list[str]:
    """Give the colours of the maps from nothing to most, as a page writes them."""
    scale = mpl.colormaps[COLORS]
    return [mpl.colors.to_hex(scale(place / (number - 1))) for place in range(number)]


def jpeg_of(image: Image) -> bytes:
    """Give an image as a JPEG."""
    stream = BytesIO()
    image.save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return stream.getvalue()
