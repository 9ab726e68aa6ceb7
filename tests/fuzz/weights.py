"""Safetensors files that lie about themselves, and other files under their name."""

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

GOOD = save({"a.weight": torch.ones(2, 3), "b": torch.zeros(4)}, {"format": "pt"})


def laid_out(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """Give a safetensors file of any header, sound or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    """Give a header's entry."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


class Marker:
    """Pickled, it runs code when it is loaded: it makes the folder that it names."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def hostile_pickle(marker: Path) -> bytes:
    """Give a pickle in torch's older form that makes the folder `marker` when it is loaded."""
    stream = io.BytesIO()
    torch.save(
        {"state_dict": {"a": torch.ones(1)}, "x": Marker(marker)},
        stream,
        _use_new_zipfile_serialization=False,
    )
    return stream.getvalue()


def hostile_zip(marker: Path) -> bytes:
    """Give the same in torch's form of today, a zip."""
    stream = io.BytesIO()
    torch.save({"a": torch.ones(1), "x": Marker(marker)}, stream)
    return stream.getvalue()


def liars(marker: Path) -> dict[str, bytes]:
    """Give damaged and disguised weight files by what is wrong with them."""
    eight = bytes(8)
    slip = io.BytesIO()
    with zipfile.ZipFile(slip, "w") as archive:
        archive.writestr("../../slipped", "x")
    return {
        "empty": b"",
        "seven bytes": b"1234567",
        "length only": struct.pack("<Q", 100),
        "length of 2**63": laid_out({"a": tensor()}, eight, length=2**63),
        "length past the end": laid_out({"a": tensor()}, eight, length=500),
        "length too short": laid_out({"a": tensor()}, eight, length=10),
        "length 0": laid_out({"a": tensor()}, eight, length=0),
        "no JSON": laid_out(b"not json at all", eight),
        "no UTF-8": laid_out(b'{"\xff": 1}', eight),
        "deep JSON": laid_out(b"[" * 50_000),
        "a list": laid_out([tensor()], eight),
        "huge header": laid_out({f"t{i}": tensor(offsets=(0, 8)) for i in range(30_000)}, eight),
        "overlapping": laid_out({"a": tensor(), "b": tensor(offsets=(4, 12))}, bytes(12)),
        "backwards": laid_out({"a": tensor(offsets=(8, 0))}, eight),
        "outside": laid_out({"a": tensor(offsets=(0, 2**40))}, eight),
        "negative": laid_out({"a": tensor(offsets=(-8, 0))}, eight),
        "NaN shape": laid_out(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', eight),
        "float shape": laid_out({"a": tensor(shape=(2.5,))}, eight),
        "overflowing shape": laid_out({"a": tensor(shape=(2**62, 2**62))}, eight),
        "negative shape": laid_out({"a": tensor(shape=(-2,))}, eight),
        "wrong size": laid_out({"a": tensor(shape=(3,))}, eight),
        "unknown dtype": laid_out({"a": tensor("Q7")}, eight),
        "other dtype": laid_out({"a": tensor("I64", (1,))}, eight),
        "small dtype": laid_out({"a": tensor("F8_E4M3", (8,))}, eight),
        "hole": laid_out({"a": tensor(offsets=(8, 16))}, bytes(16)),
        "trailing data": GOOD + b"trailing",
        "no tensors": laid_out({}),
        "metadata of numbers": laid_out({"__metadata__": {"a": 1}, "a": tensor()}, eight),
        "metadata a list": laid_out({"__metadata__": [], "a": tensor()}, eight),
        "odd name": laid_out({"../../\x1b[2J": tensor()}, eight),
        "twice": laid_out(b'{"a":%b,"a":%b}' % ((json.dumps(tensor()).encode(),) * 2), eight),
        "pickle": hostile_pickle(marker),
        "plain pickle": pickle.dumps(Marker(marker)),
        "zip of torch": hostile_zip(marker),
        "zip": slip.getvalue(),
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "page": b"<!doctype html><html></html>" * 40,
    }
