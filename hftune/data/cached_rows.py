"""Splits whose images are read through a cache on disk, and what that cache depends on."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import PIL
from PIL import Image, features

from hftune.cache_folders import cache_root
from hftune.core import Split, Splits
from hftune.data.header import decoded_bytes
from hftune.data.image_cache import KIND, ImageCache, make_cache, open_cache
from hftune.data.part import Part
from hftune.data.rows import PartRows
from hftune.errors import DiskError
from hftune.files import digest_json
from hftune.recipe.schema import DataRecipe
from hftune.units import format_size, parse_size

logger = logging.getLogger(__name__)

# Part of a key: raised where the same image would be kept as something else.
_VERSION = 1
# What decides which pixels a file gives, besides Pillow itself.
_CODECS = ("libjpeg_turbo", "jpg", "jpg_2000", "zlib", "libtiff", "webp", "avif")
# Images looked at to know how much all of them take.
_SAMPLE = 16


class CachedRows:
    """Rows whose images come from `cache` where it has them; `keeps`: others are put into it."""

    def __init__(self, rows: PartRows, cache: ImageCache, *, keeps: bool) -> None:
        self.rows = rows
        self.cache = cache
        self.keeps = keeps

    def __len__(self) -> int:
        return len(self.rows)

    def image(self, row: int) -> Image.Image:
        """Give one image, mode L or RGB. Raises DataError where it has to be decoded and cannot."""
        position = int(self.rows.positions[row])
        image = self.cache.get(position)
        if image is None:
            image = self.rows.image(row)
            if self.keeps:
                self.cache.put(position, image)
        return image

    def key(self, row: int) -> str:
        """Name one example for a message."""
        return self.rows.key(row)

    @property
    def targets(self) -> np.ndarray:
        """The encoded targets, as the rows have them."""
        return self.rows.targets


def keep_decoded(splits: Splits, data: DataRecipe, *, filled: Collection[str]) -> Splits:
    """Read images through the cache of decoded ones, and fill it from the splits named `filled`.

    Name those that are read several times: filling costs more than it saves for the others. The
    pixels are what decoding gives, to the bit. Nothing is filled where less than half of the images
    would fit into data.decoded_cache. A cache that cannot be used is named in one warning.

    Called by every rank, before worker processes are forked. Side effect: makes empty entries.
    """
    limit = parse_size(data.decoded_cache)
    if limit == 0:
        return splits
    named = {split.name: split for split in (splits.train, splits.val, splits.test) if split}
    needed = sum(_decoded_bytes(split) for name, split in named.items() if name in filled)
    keeps = filled if needed <= 2 * limit else ()
    try:
        cached = _cached(named, keeps, limit)
    except (OSError, DiskError) as error:
        logger.warning("decoded images are not kept: %s", error)
        return splits
    if needed and not keeps:
        logger.info(
            "decoded images are not kept: they would take about %s, and data.decoded_cache is %s",
            *(format_size(needed), data.decoded_cache),
        )
    elif needed:
        logger.info(
            "decoded images are kept for later epochs and runs: about %s, at most %s, in %s;"
            " 'hftune cache clear' removes them",
            *(format_size(needed), data.decoded_cache, cache_root() / KIND),
        )
    return replace(
        splits, train=cached["train"], val=cached["val"], test=cached.get("test", splits.test)
    )


def read_decoded(split: Split, data: DataRecipe) -> Split:
    """Read a split's images from the cache of decoded ones, as far as others filled it.

    Nothing is looked up for the other splits. A cache that cannot be used is named in a warning.
    """
    if parse_size(data.decoded_cache) == 0:
        return split
    try:
        return _cached({split.name: split}, (), 0)[split.name]
    except (OSError, DiskError) as error:
        logger.warning("decoded images are not read: %s", error)
        return split


def _cached(named: dict[str, Split], keeps: Collection[str], limit: int) -> dict[str, Split]:
    """Give the splits with their caches: one for each part, which several splits may share."""
    caches: dict[str, ImageCache | None] = {}
    keys = {
        name: _key(split.rows) for name, split in named.items() if isinstance(split.rows, PartRows)
    }
    found = dict(named)
    for name, key in keys.items():
        rows = named[name].rows
        assert isinstance(rows, PartRows)
        if key not in caches:
            fills = any(keys.get(other) == key for other in keeps)
            if fills:
                make_cache(key, length=len(rows.part), says=_describe(rows.part))
            caches[key] = open_cache(key, limit=limit if fills else None)
        cache = caches[key]
        if cache is not None:
            kept = CachedRows(rows, cache, keeps=name in keeps)
            found[name] = replace(named[name], rows=kept)
    return found


def _key(rows: PartRows) -> str:
    """Identify the pixels of a part: its images, and what decodes them in which way."""
    codecs = [PIL.__version__, *(features.version(name) for name in _CODECS)]
    return digest_json([_VERSION, codecs, rows.draft, rows.part.contents()])


def _describe(part: Part) -> str:
    return f"{len(part)} decoded images, '{part.name}' of {part.root or part.origin}"


def _decoded_bytes(split: Split) -> int:
    """Estimate what the images of a split take, from the headers of a few; 0 where unknown."""
    rows = split.rows
    if not isinstance(rows, PartRows) or len(rows) == 0:
        return 0
    chosen = np.unique(np.linspace(0, len(rows) - 1, _SAMPLE).astype(int))
    stored = [rows.part.stored(int(rows.positions[row])) for row in chosen]
    sizes = [decoded_bytes(source, draft=rows.draft) for source in stored]
    return round(sum(sizes) / len(sizes) * len(rows))
