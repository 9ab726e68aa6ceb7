"""Decoded images of one part of the data, kept on disk: raw pixels, exactly as decoding gave them.

Any number of processes read and fill one cache at once. A slot of the index says where an image
lies, and is written after the pixels; checksums of both make an image whole or absent, whenever a
writer was killed and whatever the disk did.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import struct
import weakref
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from xxhash import xxh3_64_intdigest

from hftune import files
from hftune.cache_folders import cache_root, made_entry, make_room, remove_remains, used_entry
from hftune.errors import DiskError

logger = logging.getLogger(__name__)

KIND = "images"
INDEX, PIXELS = "index", "pixels"
# Filling ends where the disk would have less left than this.
DISK_FLOOR = 4 * 2**30

_MODES = {1: "L", 3: "RGB"}
_CHANNELS = {mode: channels for channels, mode in _MODES.items()}
# Offset in the file of pixels, width, height, channels, checksum of the pixels; then a checksum of
# these and of the image's position, so that no damage to a slot leads anywhere.
_PLACE = struct.Struct("<QIIIxxxxQ")
_CHECK = struct.Struct("<Q")
_SLOT = _PLACE.size + _CHECK.size


class ImageCache:
    """The decoded images of one part, by position in it. Made by `open_cache`.

    Reading never fails: what is not there whole is None. Filling goes on until `limit` bytes are
    taken by all caches of this machine together, the disk has no more than `floor` bytes left, or
    it cannot be written; then one line says so, and this run's processes only read.
    """

    def __init__(self, folder: Path, *, limit: int | None, floor: int = DISK_FLOOR) -> None:
        """Open an entry's folder; with no `limit` it is only read. Raises OSError."""
        self.folder = folder
        self.limit = limit or 0
        self.floor = floor
        # Positions are given with every call: workers share these after a fork in safety. Nothing
        # is mapped: a mapped file that is cut short kills the process.
        access = os.O_RDWR if limit else os.O_RDONLY
        self._index = os.open(folder / INDEX, access)
        self._pixels = os.open(folder / PIXELS, access)
        # One byte that all workers see: not zero once nobody is to fill any more.
        self._is_over = mmap.mmap(-1, 1)
        self._is_over[0] = int(not limit)
        weakref.finalize(self, _close, self._index, self._pixels)

    @property
    def fills(self) -> bool:
        """Whether new images are kept."""
        return not self._is_over[0]

    def get(self, position: int) -> Image.Image | None:
        """Give one image, or None where it is not kept whole."""
        try:
            place = self._place(position)
            if place is None:
                return None
            offset, width, height, channels, check = place
            pixels = os.pread(self._pixels, width * height * channels, offset)
        except OSError:
            return None
        if xxh3_64_intdigest(pixels) != check:
            return None
        mode = _MODES[channels]
        return Image.frombuffer(mode, (width, height), pixels, "raw", mode, 0, 1)

    def put(self, position: int, image: Image.Image) -> None:
        """Keep one image of mode L or RGB, unless filling is over or another process was first."""
        if not self.fills:
            return
        try:
            self._write(position, image)
        except (OSError, DiskError) as error:
            self._end(logging.WARNING, f"{self.folder} cannot be written ({error})")

    def _place(self, position: int) -> tuple[int, int, int, int, int] | None:
        """Give offset, width, height, channels and checksum of an image that was kept."""
        slot = os.pread(self._index, _SLOT, position * _SLOT)
        if len(slot) < _SLOT or slot == bytes(_SLOT):
            return None
        if _checked(slot[: _PLACE.size], position) != slot:
            return None
        return _PLACE.unpack_from(slot)

    def _write(self, position: int, image: Image.Image) -> None:
        pixels = image.tobytes()
        with _locked():
            if self._place_is_whole(position):
                return
            offset = self._reserve(len(pixels))
        if offset is None:
            return
        _write_all(self._pixels, pixels, offset)
        channels, check = _CHANNELS[image.mode], xxh3_64_intdigest(pixels)
        place = _PLACE.pack(offset, image.width, image.height, channels, check)
        _write_all(self._index, _checked(place, position), position * _SLOT)  # after the pixels

    def _place_is_whole(self, position: int) -> bool:
        """Say whether another process kept this image meanwhile."""
        return self._place(position) is not None and self.get(position) is not None

    def _reserve(self, needed: int) -> int | None:
        """Lengthen the file of pixels and give where the new part starts; None without room.

        Called under the lock of all caches, so that the limit holds for all of them together.
        """
        if os.fstat(self._pixels).st_nlink == 0:
            self._end(logging.WARNING, f"{self.folder} was removed")
            return None
        if _bytes_kept() + needed > self.limit and not make_room(
            KIND, needed=needed, limit=self.limit
        ):
            self._end(
                logging.INFO,
                "all room that data.decoded_cache gives to decoded images is taken",
            )
            return None
        disk = os.fstatvfs(self._pixels)
        if disk.f_bavail * disk.f_frsize < needed + self.floor:
            self._end(logging.WARNING, f"the disk of {self.folder} is nearly full")
            return None
        offset = os.fstat(self._pixels).st_size
        os.ftruncate(self._pixels, offset + needed)
        return offset

    def _end(self, level: int, reason: str) -> None:
        """Fill no more, in all processes of this run that share the cache; say so once."""
        if self.fills:
            self._is_over[0] = 1
            logger.log(level, "%s: the remaining images are decoded whenever they are used", reason)


def make_cache(key: str, *, length: int, says: str) -> None:
    """Make an empty entry `key` for `length` images, unless there is one. Raises DiskError."""
    with _locked(), used_entry(KIND, key) as there:
        if there is None:
            remove_remains(KIND)
            with made_entry(KIND, key, says=says) as folder:
                (folder / PIXELS).touch()
                with (folder / INDEX).open("wb") as stream:
                    stream.truncate(length * _SLOT)


def open_cache(key: str, *, limit: int | None) -> ImageCache | None:
    """Open the entry `key`; None where there is none.

    `limit` is what all caches of decoded images together may take, in bytes; None: only read. The
    entry is kept from removal until the cache is gone. Raises OSError.
    """
    stack = contextlib.ExitStack()
    with stack:
        folder = stack.enter_context(used_entry(KIND, key))
        if folder is None:
            return None
        try:
            cache = ImageCache(folder, limit=limit)
        except OSError:  # perhaps one that only others may write
            cache = ImageCache(folder, limit=None)
        weakref.finalize(cache, stack.pop_all().close)
    return cache


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Hold the one lock under which room for decoded images is given out on this machine."""
    with files.locked(cache_root() / KIND / ".lock"):
        yield


def _bytes_kept() -> int:
    """Sum the sizes of all files of all entries, whole or in the making."""
    total = 0
    with os.scandir(cache_root() / KIND) as entries:
        for entry in entries:
            with contextlib.suppress(OSError), os.scandir(entry.path) as found:  # removed meanwhile
                total += sum(file.stat().st_size for file in found)
    return total


def _checked(place: bytes, position: int) -> bytes:
    """Give a slot: a place with the checksum that holds for it at this position only."""
    return place + _CHECK.pack(xxh3_64_intdigest(place, seed=position))


def _write_all(descriptor: int, content: bytes, offset: int) -> None:
    """Write to an open file. Raises OSError, also for what a full disk leaves out."""
    left = memoryview(content)
    while left:
        written = os.pwrite(descriptor, left, offset)
        offset, left = offset + written, left[written:]


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
