"""Batches of a split: for training from any step on, for evaluation each row once."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hftune.core import BadImage, Batch, InputSpec, Split
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
from hftune.data.substitute import OnBadImage, bad_image, read_or_next, read_or_stop
from hftune.data.workers import choose_workers, produce
from hftune.errors import DataError

__all__ = ["LoaderSpec", "choose_workers", "eval_batches", "train_batches"]


@dataclass(frozen=True, kw_only=True)
class LoaderSpec:
    """Which part of the work one rank loads, and with how many worker processes.

    `on_bad_image` says whether an image that cannot be read ends the loading or is replaced.
    """

    start: int
    stop: int
    share: Share
    micro_batch_size: int
    workers: int
    on_bad_image: OnBadImage = "stop"


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """One batch to make: positions in the split, and the turn of each that is augmented."""

    rows: Positions
    turns: Positions


def train_batches(
    split: Split, transform: TrainTransform, order: Order, spec: LoaderSpec
) -> Generator[list[Batch], None, None]:
    """Give this rank's micro-batches of each step from `start` to `stop` (exclusive).

    What a batch holds depends on the order's seed, the step and which images can be read: not on
    where one starts, nor on the number of workers or ranks. An image that cannot be read ends the
    loading with a DataError, or leaves its place to `read_or_next`, with that one's own target and
    at its own turn. Closing the generator ends the workers.
    """
    read = read_or_stop if spec.on_bad_image == "stop" else read_or_next

    def make(wanted: _Wanted) -> list[Tensor | BadImage]:
        images: list[Tensor] = []
        rows: list[int] = []
        missed: list[BadImage] = []
        for row, turn in zip(wanted.rows.tolist(), wanted.turns.tolist(), strict=True):
            one = read(split, row)
            images.append(transform(one.image, augmentation_random(order.seed, turn, one.row)))
            rows.append(one.row)
            missed += one.missed
        return [*_tensors(images, transform.spec, split, rows), *missed]

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

    An image that cannot be read is left out of its batch, which may then hold none, and is among
    the batch's `bad`. Closing the generator ends the workers.
    """

    def make(wanted: Positions) -> list[Tensor | BadImage]:
        images: list[Tensor] = []
        rows: list[int] = []
        bad: list[BadImage] = []
        for row in wanted.tolist():
            try:
                images.append(transform(split.rows.image(row)))
                rows.append(row)
            except DataError as error:
                bad.append(bad_image(split, row, error))
        return [*_tensors(images, transform.spec, split, rows), *bad]

    own = evaluation_rows(len(split), share)
    parts = [own[first : first + batch_size] for first in range(0, len(own), batch_size)]
    made = produce(make, parts, workers=min(workers, len(parts)))
    try:
        for one in made:
            yield _batch(one)
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
    images: Sequence[Tensor], spec: InputSpec, split: Split, rows: Sequence[int]
) -> list[Tensor]:
    """Give inputs, targets and rows of one batch; normalised here, where a worker does it."""
    pixels = torch.empty(len(images), spec.channels, spec.height, spec.width, dtype=torch.uint8)
    for position, image in enumerate(images):
        pixels[position] = image
    positions = np.array(rows, dtype=np.int64)
    return [
        normalise(pixels, spec),
        torch.from_numpy(split.rows.targets[positions]),
        torch.from_numpy(positions),
    ]


def _batch(made: list[Tensor | BadImage]) -> Batch:
    inputs, targets, rows = (one for one in made if isinstance(one, Tensor))
    bad = tuple(one for one in made if isinstance(one, BadImage))
    return Batch(inputs=inputs, targets=targets, rows=rows, bad=bad)
