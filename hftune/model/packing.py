"""Several tensors per image as one row of numbers, and back, bit for bit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One tensor [B, *shape]; `order` is that of its dimensions in memory, the batch first."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    order: tuple[int, ...]

    @property
    def size(self) -> int:
        """Numbers per image."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Which tensors make up a row, one behind the other, all in a type that holds each exactly."""

    pieces: tuple[Piece, ...]
    dtype: torch.dtype

    @property
    def width(self) -> int:
        """Numbers per image, over all tensors."""
        return sum(piece.size for piece in self.pieces)

    def pack(self, values: Sequence[Tensor]) -> Tensor:
        """Give the tensors as one [B, width]."""
        rows = [
            value.permute(piece.order).flatten(1).to(self.dtype)
            for piece, value in zip(self.pieces, values, strict=True)
        ]
        return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)

    def unpack(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Give the tensors of [B, width], each in its own type and memory layout."""
        parts = torch.split(rows, [piece.size for piece in self.pieces], dim=1)
        return tuple(
            _as_it_was(piece, part) for piece, part in zip(self.pieces, parts, strict=True)
        )


def settle_packing(values: Sequence[object], *, batch: int) -> Packing | None:
    """Give the packing of tensors [batch, ...]; None where one is no floating-point tensor."""
    tensors = [
        value
        for value in values
        if isinstance(value, Tensor)
        and value.is_floating_point()
        and value.ndim > 1
        and len(value) == batch
    ]
    if not tensors or len(tensors) < len(values):
        return None
    return Packing(
        pieces=tuple(_piece(tensor) for tensor in tensors),
        dtype=reduce(torch.promote_types, (tensor.dtype for tensor in tensors)),
    )


def _piece(tensor: Tensor) -> Piece:
    order = tuple(range(tensor.ndim))
    if not tensor.is_contiguous():
        by_stride = sorted(order[1:], key=tensor.stride, reverse=True)
        if tensor.permute(0, *by_stride).is_contiguous():
            order = (0, *by_stride)
    return Piece(shape=tuple(tensor.shape[1:]), dtype=tensor.dtype, order=order)


def _as_it_was(piece: Piece, part: Tensor) -> Tensor:
    lies = [piece.shape[dim - 1] for dim in piece.order[1:]]
    part = part.to(piece.dtype).contiguous().reshape(-1, *lies)
    return part.permute([piece.order.index(dim) for dim in range(len(piece.order))])
