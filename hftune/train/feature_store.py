"""Rows of numbers kept in memory and on disk, in shards that are whole or absent.

A shard is an entry of the cache of features: a file of rows and its digest. Whoever makes the same
rows finds the shards that others finished, also where a kill left the rest undone.
"""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hftune.cache_folders import (
    cache_root,
    list_entries,
    made_entry,
    make_room,
    remove_entry,
    remove_remains,
    used_entry,
)
from hftune.files import digest_parts, locked, read_json, write_json

KIND = "features"
_ROWS, _DIGEST = "rows.safetensors", "digest.json"
# Enough shards for every process of a machine to have one, and for little to be lost by a kill.
_MOST_SHARDS = 256
_FEWEST_ROWS = 128


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which rows: [num_rows, width] of `dtype`, made `batch_size` at a time; `says` what they are.

    `key` changes with everything that decides a number in them.
    """

    key: str
    num_rows: int
    width: int
    dtype: torch.dtype
    batch_size: int
    says: str

    @property
    def num_bytes(self) -> int:
        """The size of all rows."""
        return self.num_rows * self.width * self.dtype.itemsize

    @property
    def shard_rows(self) -> int:
        """Rows of a shard, the last excepted: whole batches."""
        least = max(_FEWEST_ROWS, math.ceil(self.num_rows / _MOST_SHARDS))
        return math.ceil(least / self.batch_size) * self.batch_size

    @property
    def num_shards(self) -> int:
        """The number of shards."""
        return math.ceil(self.num_rows / self.shard_rows)

    def rows_of(self, shard: int) -> range:
        """Give the rows of one shard."""
        start = shard * self.shard_rows
        return range(start, min(start + self.shard_rows, self.num_rows))

    def shard_key(self, shard: int) -> str:
        """Name the entry of one shard."""
        return f"{self.key[:32]}-{shard:03d}"


def is_begun(wanted: Wanted) -> bool:
    """Say whether any shard was finished on this machine; a `Store` sees which are whole."""
    for shard in range(wanted.num_shards):
        with used_entry(KIND, wanted.shard_key(shard)) as folder:
            if folder is not None:
                return True
    return False


class Rows:
    """Kept rows, in one tensor in memory or in a mapped tensor per shard."""

    def __init__(self, shards: Sequence[Tensor], shard_rows: int) -> None:
        self._shards = shards
        self._shard_rows = shard_rows

    def take(self, index: Tensor) -> Tensor:
        """Give rows [B, width] at `index`, int64 [B]."""
        if len(self._shards) == 1:
            return self._shards[0].index_select(0, index)
        first = self._shards[0]
        taken = first.new_empty(len(index), first.shape[1])
        places = index // self._shard_rows
        for shard in set(places.tolist()):
            here = places == shard
            taken[here] = self._shards[shard].index_select(0, index[here] % self._shard_rows)
        return taken


class Store:
    """The shards of `wanted` that there are, kept from removal while this is open.

    With `on_disk` false nothing is written, and what is made stays in memory.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.on_disk = True
        self._made: dict[int, Tensor] = {}
        self._used: dict[int, str] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Find what is there whole; what is damaged is removed."""
        self.find_made()
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of what was used."""
        self._stack.close()

    def missing(self) -> list[int]:
        """Give the shards that are still to be made."""
        known = self._used.keys() | self._made.keys()
        return [shard for shard in range(self.wanted.num_shards) if shard not in known]

    def make_room(self, limit: int) -> bool:
        """Remove what others left unused until the missing shards fit; say whether they do."""
        remove_remains(KIND)
        rows = sum(len(self.wanted.rows_of(shard)) for shard in self.missing())
        needed = rows * self.wanted.width * self.wanted.dtype.itemsize
        return make_room(KIND, needed=needed, limit=limit)

    def put(self, shard: int, rows: Tensor) -> None:
        """Keep the rows of one shard. Raises DiskError where it is to be written and cannot."""
        if not self.on_disk:
            self._made[shard] = rows
            return
        key = self.wanted.shard_key(shard)
        with locked(cache_root() / f".{KIND}.lock"):  # another run may have made the same meanwhile
            with used_entry(KIND, key) as folder:
                is_there = folder is not None
            if not is_there:
                says = f"{self.wanted.says}, part {shard + 1} of {self.wanted.num_shards}"
                with made_entry(KIND, key, says=says) as folder:
                    save_file({"rows": rows.contiguous()}, folder / _ROWS)
                    write_json(folder / _DIGEST, {"rows": digest_parts(folder / _ROWS)})
        self._use(shard)

    def find_made(self) -> None:
        """Find the shards that other processes of this machine finished."""
        for shard in self.missing():
            self._use(shard)

    def rows(self, *, memory: int) -> Rows:
        """Give all rows: read into memory where they take at most `memory` bytes, else mapped."""
        if self.missing():
            raise ValueError(f"{len(self.missing())} shards were not made")
        shards = [
            self._made[shard]
            if shard in self._made
            else load_file(self._used[shard])["rows"]  # mapped: read when it is looked at
            for shard in range(self.wanted.num_shards)
        ]
        if self.wanted.num_bytes <= memory:
            return Rows([torch.cat(shards)], self.wanted.num_rows)
        return Rows(shards, self.wanted.shard_rows)

    def _use(self, shard: int) -> None:
        """Keep a shard from removal, if it is there and whole."""
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(used_entry(KIND, self.wanted.shard_key(shard)))
            if folder is None:
                return
            if self._is_whole(folder, shard):
                self._used[shard] = str(folder / _ROWS)
                self._stack.enter_context(stack.pop_all())
                return
        for entry in list_entries(KIND):
            if entry.key == self.wanted.shard_key(shard):
                remove_entry(entry)

    def _is_whole(self, folder: Path, shard: int) -> bool:
        """Say whether the bytes are those that were written, and the rows those that are wanted."""
        try:
            if read_json(folder / _DIGEST) != {"rows": digest_parts(folder / _ROWS)}:
                return False
            rows = load_file(folder / _ROWS)["rows"]
        except (OSError, ValueError, KeyError, SafetensorError):
            return False
        shape = (len(self.wanted.rows_of(shard)), self.wanted.width)
        return tuple(rows.shape) == shape and rows.dtype == self.wanted.dtype
