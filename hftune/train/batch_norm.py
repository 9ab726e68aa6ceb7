"""Running statistics for weights that no training step has seen: those of an average.

Izmailov et al. 2018 make one more pass over the training data for them, as
`torch.optim.swa_utils.update_bn` does.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hftune.core import BadImage, LayerMap, Phase, Split
from hftune.data.image_input import model_inputs, train_transform
from hftune.data.loader import LoaderSpec, train_batches
from hftune.data.order import Order, Share
from hftune.model.freeze import BatchNormPolicy, set_train_mode
from hftune.recipe.schema import Recipe
from hftune.train.control import Control
from hftune.train.evaluate import MOST_IMAGES, Judge
from hftune.train.plan import stated_micro_batch
from hftune.train.prefetch import prefetched

_STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True, kw_only=True)
class Batching:
    """A shuffled split in `number` batches of `size` images; fewer than `number` are left over."""

    size: int
    number: int


def live_batch_norm(
    module: nn.Module, layers: LayerMap, phases: Sequence[Phase], *, policy: BatchNormPolicy
) -> frozenset[str]:
    """Name the layers whose running statistics move in any of `phases` under `policy`.

    Side effect: leaves the module in evaluation mode.
    """
    live: set[str] = set()
    for phase in phases:
        set_train_mode(module, layers, trainable=phase.trainable, batch_norm=policy)
        live |= {name for name, layer in _with_statistics(module).items() if layer.training}
    module.eval()
    return frozenset(live)


def recompute_batch_norm(
    module: nn.Module,
    batches: Iterator[Tensor | None],
    *,
    layers: frozenset[str],
    accelerator: Accelerator,
    control: Control | None = None,
) -> bool:
    """Give the named layers the mean of their statistics over all batches of all ranks.

    `batches` are inputs [B, C, H, W], or None in a round in which this rank has none; every rank
    goes through as many rounds (collective). Each batch counts the same, as in
    `torch.optim.swa_utils.update_bn`; unlike there all other layers are in evaluation mode, since
    dropout would widen the variances beyond those at test time (Li et al. 2019, "Understanding the
    Disharmony Between Dropout and Batch Normalization by Variance Shift"). Sums are float64, so
    the number of ranks does not show. False when a signal cut it short; the statistics are then
    of no use. Side effect: leaves the module in evaluation mode.
    """
    chosen = {name: layer for name, layer in _with_statistics(module).items() if name in layers}
    buffers = [buffer for layer in chosen.values() for buffer in _statistics_of(layer)]
    momenta = {name: cast("nn.BatchNorm2d", layer).momentum for name, layer in chosen.items()}
    sums = torch.zeros(sum(buffer.numel() for buffer in buffers), dtype=torch.float64)
    count = 0
    module.eval()
    for buffer in buffers:
        buffer.zero_()
    for layer in chosen.values():
        layer.training = True
        cast(
            "nn.BatchNorm2d", layer
        ).momentum = 1.0  # after a forward pass the buffers hold this batch's own statistics
    try:
        for inputs in batches:
            if inputs is not None:
                with torch.no_grad(), accelerator.autocast():
                    module(inputs)
                sums += _flat(buffers)
                count += 1
            if control is not None and control.agree_to_stop():
                return False
    finally:
        for name, layer in chosen.items():
            cast("nn.BatchNorm2d", layer).momentum = momenta[name]
        module.eval()
    total = _sum_over_ranks(torch.cat([sums, torch.tensor([float(count)])]), accelerator)
    _put_back(chosen, buffers, total[:-1] / total[-1], count=int(total[-1]))
    return True


def settle_batching(num_rows: int, recipe: Recipe) -> Batching:
    """Divide `num_rows` into equal batches: a function of the recipe, not of the ranks."""
    train = recipe.train
    most = min(stated_micro_batch(train) or min(train.batch_size, MOST_IMAGES), num_rows)
    number = -(-num_rows // most)
    return Batching(size=num_rows // number, number=number)


def statistics_batches(
    split: Split, judge: Judge, recipe: Recipe
) -> Generator[Tensor | None, None, None]:
    """Give this rank's share of the training images, shuffled, on the device.

    They are augmented as in the first epoch of training: running statistics are of augmented
    images wherever they come from training itself, in the reference of Izmailov et al. as well.
    Nothing is mixed or balanced. Closing the generator ends the workers. Raises DataError on every
    rank, after the last batch, where an image that cannot be read stops the run (collective).
    """
    accelerator = judge.accelerator
    batching = settle_batching(len(split), recipe)
    rank, ranks = accelerator.process_index, accelerator.num_processes
    start, stop = (batching.number * part // ranks for part in (rank, rank + 1))
    batches = train_batches(
        split,
        train_transform(judge.input_spec, recipe.data.augment),
        Order(num_rows=len(split), batch_size=batching.size, seed=recipe.train.seed),
        LoaderSpec(
            start=start,
            stop=stop,
            share=Share(rank=0, world_size=1),
            micro_batch_size=batching.size,
            workers=judge.workers,
            on_bad_image="skip",  # no rank may stop alone
        ),
    )
    bad: list[BadImage] = []
    with closing(prefetched(batches, accelerator.device)) as ahead:
        for _ in range(-(-batching.number // ranks)):
            step = next(ahead, None)
            bad.extend(() if step is None else step[0].bad)
            yield (
                None
                if step is None
                else model_inputs(
                    step[0].inputs, judge.input_spec, device=accelerator.device, layout=judge.layout
                )
            )
    judge.bad.settle(split, bad)


def running_statistics(module: nn.Module) -> dict[str, Tensor]:
    """Give a copy of each layer's running statistics as one vector on the CPU, by its name."""
    return {name: _flat(_statistics_of(layer)) for name, layer in _with_statistics(module).items()}


def _with_statistics(module: nn.Module) -> dict[str, nn.Module]:
    """Give the layers that keep running statistics and move them by a momentum, by name."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if getattr(layer, "running_var", None) is not None and hasattr(layer, "momentum")
    }


def _statistics_of(layer: nn.Module) -> list[Tensor]:
    buffers = dict(layer.named_buffers(recurse=False))
    return [buffers[name] for name in _STATISTICS if name in buffers]


def _flat(buffers: Sequence[Tensor]) -> Tensor:
    """Give all buffers as one vector on the CPU (host-device sync)."""
    return torch.cat([buffer.flatten() for buffer in buffers]).cpu().double()


def _sum_over_ranks(values: Tensor, accelerator: Accelerator) -> Tensor:
    if accelerator.num_processes == 1:
        return values
    there = values.to(accelerator.device)
    torch.distributed.all_reduce(there)  # collective
    return there.cpu()  # host-device sync


def _put_back(
    layers: dict[str, nn.Module], buffers: Sequence[Tensor], mean: Tensor, *, count: int
) -> None:
    parts = torch.split(mean, [buffer.numel() for buffer in buffers])
    for buffer, part in zip(buffers, parts, strict=True):
        buffer.copy_(part.view(buffer.shape))
    for layer in layers.values():
        counter = getattr(layer, "num_batches_tracked", None)
        if isinstance(counter, Tensor):
            counter.fill_(count)
