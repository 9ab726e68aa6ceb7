"""What tells whether two images are the same: a digest, a perceptual hash and a small copy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hftune.data.order import Positions

DIGEST_BYTES = 16
COPY_SIDE = 16
# Hash, copy and colour are all made from one reduction of this side: large images cost it once.
_REDUCED_SIDE = 64
# Pillow averages whole pixels first, down to this many times the wanted side: quick for large ones.
_GAP = 2.0


@dataclass(frozen=True, kw_only=True)
class Fingerprints:
    """Fingerprints of N images.

    `digests` uint8 [N, 16] are equal for the same upright pixels, stored as grey or as RGB.
    `hashes` uint64 [N] differ in few bits where images look alike. `copies` uint8 [N, 16, 16] are
    grey; `colours` uint8 [N, 3] are means.
    """

    digests: NDArray[np.uint8]
    hashes: NDArray[np.uint64]
    copies: NDArray[np.uint8]
    colours: NDArray[np.uint8]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.hashes)

    def at(self, rows: Positions) -> Fingerprints:
        """Give the fingerprints of some rows."""
        return Fingerprints(
            digests=self.digests[rows],
            hashes=self.hashes[rows],
            copies=self.copies[rows],
            colours=self.colours[rows],
        )


def fingerprint(image: Image.Image) -> Fingerprints:
    """Give the fingerprints of one decoded image of mode L or RGB, N = 1.

    The hash is ImageHash's `phash`: the signs of the 64 lowest frequencies about their median.
    """
    size = (_REDUCED_SIDE, _REDUCED_SIDE)
    reduced = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=_GAP)
    copy = reduced.convert("RGB").resize((COPY_SIDE, COPY_SIDE), Image.Resampling.LANCZOS)
    bits = imagehash.phash(reduced).hash
    return Fingerprints(
        digests=np.frombuffer(_digest(image), dtype=np.uint8)[np.newaxis],
        hashes=np.packbits(bits.reshape(-1)).view(np.uint64),
        copies=np.asarray(copy.convert("L"))[np.newaxis],
        colours=np.asarray(copy).mean(axis=(0, 1)).round().astype(np.uint8)[np.newaxis],
    )


def no_fingerprints(number: int) -> Fingerprints:
    """Give fingerprints of zeros, for `number` images that have none."""
    return Fingerprints(
        digests=np.zeros((number, DIGEST_BYTES), dtype=np.uint8),
        hashes=np.zeros(number, dtype=np.uint64),
        copies=np.zeros((number, COPY_SIDE, COPY_SIDE), dtype=np.uint8),
        colours=np.zeros((number, 3), dtype=np.uint8),
    )


def join(several: Sequence[Fingerprints]) -> Fingerprints:
    """Give all fingerprints in a row; there must be at least one."""
    return Fingerprints(
        digests=np.concatenate([one.digests for one in several]),
        hashes=np.concatenate([one.hashes for one in several]),
        copies=np.concatenate([one.copies for one in several]),
        colours=np.concatenate([one.colours for one in several]),
    )


def _digest(image: Image.Image) -> bytes:
    """Hash size and pixels; RGB whose channels are equal counts as the grey image that it is."""
    pixels = np.asarray(image)
    if pixels.ndim == 3 and _is_grey(pixels[:1]) and _is_grey(pixels):
        pixels = pixels[..., 0]
    total = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=DIGEST_BYTES)
    total.update(np.ascontiguousarray(pixels).data)
    return total.digest()


def _is_grey(pixels: NDArray[np.uint8]) -> bool:
    return bool((pixels[..., :1] == pixels[..., 1:]).all())
