"""Batches of a split: for training from any step on, for evaluation each row once."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hftune.core import Batch, InputSpec, Split
from hftune.data.image_input import EvalTransform, TrainTransform, normalise
from hftune.data.order import (
    Order,
    Positions,
    Share,
    augmentation_random,
    evaluation_rows,
    micro_batches,
    step_rows,
)
from hftune.data.workers import choose_workers, produce

__all__ = ["LoaderSpec", "choose_workers", "eval_batches", "train_batches"]


@dataclass(frozen=True, kw_only=True)
class LoaderSpec:
    """Which part of the work one rank loads, and with how many worker processes."""

    start: int
    stop: int
    share: Share
    micro_batch_size: int
    workers: int


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """One batch to make: positions in the split, and the turn of each that is augmented."""

    rows: Positions
    turns: Positions


def train_batches(
    split: Split, transform: TrainTransform, order: Order, spec: LoaderSpec
) -> Generator[list[Batch], None, None]:
    """Give this rank's micro-batches of each step from `start` to `stop` (exclusive).

    What a batch holds depends on the order's seed and the step alone: not on where one starts, nor
    on the number of workers or ranks. Closing the generator ends the workers. Raises DataError
    for an image that cannot be read.
    """

    def make(wanted: _Wanted) -> list[Tensor]:
        images = [
            transform(
                split.rows.image(int(row)), augmentation_random(order.seed, int(turn), int(row))
            )
            for row, turn in zip(wanted.rows, wanted.turns, strict=True)
        ]
        return _tensors(images, transform.spec, split, wanted.rows)

    made = produce(make, _wanted_by_step(order, spec), workers=spec.workers)
    per_step = order.batch_size // (spec.micro_batch_size * spec.share.world_size)
    try:
        for _ in range(spec.start, spec.stop):
            yield [_batch(next(made)) for _ in range(per_step)]
    finally:
        made.close()


def eval_batches(
    split: Split, transform: EvalTransform, *, batch_size: int, share: Share, workers: int
) -> Generator[Batch, None, None]:
    """Give this rank's rows of the split, each once, in batches of which the last may be short.

    Closing the generator ends the workers. Raises DataError for an image that cannot be read.
    """

    def make(rows: Positions) -> list[Tensor]:
        images = [transform(split.rows.image(int(row))) for row in rows]
        return _tensors(images, transform.spec, split, rows)

    own = evaluation_rows(len(split), share)
    parts = [own[first : first + batch_size] for first in range(0, len(own), batch_size)]
    made = produce(make, parts, workers=min(workers, len(parts)))
    try:
        for tensors in made:
            yield _batch(tensors)
    finally:
        made.close()


def _wanted_by_step(order: Order, spec: LoaderSpec) -> Iterator[_Wanted]:
    for step in range(spec.start, spec.stop):
        of_step = step_rows(order, step)
        rows = micro_batches(of_step.rows, spec.share, spec.micro_batch_size)
        turns = micro_batches(of_step.turns, spec.share, spec.micro_batch_size)
        for of_rows, of_turns in zip(rows, turns, strict=True):
            yield _Wanted(rows=of_rows, turns=of_turns)


def _tensors(
    images: Sequence[Tensor], spec: InputSpec, split: Split, rows: Positions
) -> list[Tensor]:
    """Give inputs, targets and rows of one batch; normalised here, where a worker does it."""
    pixels = torch.empty(len(images), spec.channels, spec.height, spec.width, dtype=torch.uint8)
    for position, image in enumerate(images):
        pixels[position] = image
    return [
        normalise(pixels, spec),
        torch.from_numpy(split.rows.targets[rows]),
        torch.from_numpy(rows.copy()),
    ]


def _batch(tensors: list[Tensor]) -> Batch:
    inputs, targets, rows = tensors
    return Batch(inputs=inputs, targets=targets, rows=rows)
