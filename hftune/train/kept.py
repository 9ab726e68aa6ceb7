"""What a frozen prefix gave for the images of a split, as batches in place of images."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hftune.core import Batch, Split
from hftune.data.loader import LoaderSpec
from hftune.data.order import Order, Positions, Share, asked_at, evaluation_rows
from hftune.model.prefix import Cut, Rest
from hftune.train.feature_store import Rows


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What the prefix gives for the images of a split, view by view."""

    rows: Rows
    views: int
    cut: Cut

    def rest(self, module: nn.Module) -> Rest:
        """Give what is left to run, in evaluation mode, of a `module` with the same prefix."""
        return Rest(module, self.cut.judged, self.cut.packing)

    def train_batches(
        self, split: Split, order: Order, spec: LoaderSpec
    ) -> Generator[list[Batch], None, None]:
        """Give the batches that the loader gives, with features in place of pixels."""
        targets = torch.as_tensor(split.rows.targets)
        for step in range(spec.start, spec.stop):
            asked = asked_at(order, step, share=spec.share, micro_batch_size=spec.micro_batch_size)
            yield [self._batch(targets, one.rows, one.turns % self.views) for one in asked]

    def eval_batches(
        self, split: Split, *, batch_size: int, share: Share
    ) -> Generator[Batch, None, None]:
        """Give this rank's rows of the split, each once; the last batch may be short."""
        targets = torch.as_tensor(split.rows.targets)
        own = evaluation_rows(len(split), share)
        for first in range(0, len(own), batch_size):
            rows = own[first : first + batch_size]
            yield self._batch(targets, rows, np.zeros_like(rows))

    def _batch(self, targets: Tensor, rows: Positions, views: Positions) -> Batch:
        places = torch.from_numpy(views * len(targets) + rows)
        positions = torch.tensor(rows)
        return Batch(inputs=self.rows.take(places), targets=targets[positions], rows=positions)
