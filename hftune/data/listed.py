"""Listed images of a split, each as pixels, in the order of the list."""

from collections.abc import Callable, Generator, Sequence

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from hftune.core import Split
from hftune.data.loader import measured_workers
from hftune.data.order import augmentation_random
from hftune.data.substitute import read_or_stop
from hftune.data.workers import produce

Pixels = Callable[[Image, np.random.Generator], Tensor]


def listed_batches(
    split: Split,
    pixels: Pixels,
    asks: Sequence[Sequence[tuple[int, int]]],
    *,
    seed: int,
    workers: int | None,
) -> Generator[Tensor, None, None]:
    """Give uint8 [B, C, H, W] for each list of (row, turn): that row as augmented at that turn.

    None as `workers` means as many as the work keeps busy. Closing the generator ends the workers.
    Raises DataError for an image that cannot be read.
    """

    def make(wanted: Sequence[tuple[int, int]]) -> list[Tensor]:
        images = [
            pixels(read_or_stop(split, row).image, augmentation_random(seed, turn, row))
            for row, turn in wanted
        ]
        return [torch.stack(images)]

    number = sum(map(len, asks))
    if workers is None:
        workers = measured_workers(
            lambda row: make([(row, 0)]), range(len(split)), number=number, learns=False
        )
    made = produce(make, asks, workers=min(workers, len(asks)))
    try:
        for (batch,) in made:
            yield batch
    finally:
        made.close()
