"""fastai's Learner over a timm network, with its own transforms and its own way to freeze."""

import time

import torch
from fastai.callback.core import Callback, CancelValidException
from fastai.callback.fp16 import MixedPrecision  # noqa: F401  # adds Learner.to_bf16
from fastai.callback.progress import ProgressCallback  # noqa: F401  # adds Learner.no_bar
from fastai.callback.training import BnFreeze
from fastai.data.transforms import Normalize
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import Adam
from fastai.torch_core import set_seed
from fastai.vision.augment import CropPad, Flip, RandomResizedCrop, Resize, ResizeMethod
from fastai.vision.data import ImageDataLoaders
from PIL.Image import Resampling
from timm.data import resolve_data_config
from torch import nn

from benchmarks.peers.network import load_network, tell_judged
from benchmarks.peers.parts import parts_of
from benchmarks.peers.task import Clock, Task, read_task, say


class Told(Callback):
    """Tells the clock of steps, and how good the network is: at the end, or after every epoch."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.clock = Clock()
        self.logits: list[torch.Tensor] = []
        self.answers: list[torch.Tensor] = []

    def before_fit(self) -> None:
        """Start the clock, before the first batch."""
        self.clock.start()

    def after_batch(self) -> None:
        """Count a step, or keep what the network says."""
        if self.training:
            self.clock.step(self.task.batch_size)
        else:
            self.logits.append(self.pred.detach().cpu())
            self.answers.append(self.yb[0].cpu())

    def after_train(self) -> None:
        """Stop the clock at the end."""
        if self.is_last:
            self.clock.stop()

    def before_validate(self) -> None:
        """Leave out a validation that was not asked for."""
        if self.task.mode == "train" and not (self.is_last or self.task.judge_every_epoch):
            raise CancelValidException

    def after_validate(self) -> None:
        """Tell how good the network is."""
        if self.logits:
            tell_judged(torch.cat(self.logits), torch.cat(self.answers))
            self.logits, self.answers = [], []

    @property
    def is_last(self) -> bool:
        """Say whether this is the last epoch."""
        return bool(self.epoch == self.n_epoch - 1)


def main(task: Task) -> None:
    """Train and judge, or only judge."""
    set_seed(task.seed, reproducible=False)
    network = load_network(task)
    learn = Learner(
        loaders(task, network),
        network,
        loss_func=CrossEntropyLossFlat(),
        opt_func=Adam,  # decoupled weight decay: AdamW
        wd=task.weight_decay,
        splitter=lambda network: parameter_groups(network, task),
        train_bn=False,
        cbs=[BnFreeze(), Told(task)],
    )
    if task.precision == "bf16":
        learn.to_bf16()
    if task.mode == "evaluate":
        learn.validate()
        before = time.perf_counter()
        learn.validate()
        rate = len(learn.dls.valid_ds) / (time.perf_counter() - before)
        say("evaluated", images_per_second=rate)
        return
    if task.trains != "all":
        learn.freeze()
    with learn.no_bar(), learn.no_logging():
        learn.fit(task.epochs, lr=task.lr)


def loaders(task: Task, network: nn.Module) -> ImageDataLoaders:
    """Give fastai's loaders: crops on the workers, flips and normalising on whole batches."""
    config = resolve_data_config(model=network)
    side = config["input_size"][1]
    resized = round(side / config["crop_pct"])
    resamples = (Resampling.BICUBIC, Resampling.NEAREST)
    whole = [Resize(resized, ResizeMethod.Squish, resamples=resamples), CropPad(side)]
    random = [RandomResizedCrop(side, min_scale=task.min_scale, resamples=resamples)]
    return ImageDataLoaders.from_folder(
        task.images,
        valid="val",
        item_tfms=random if task.augment else whole,
        batch_tfms=[
            *([Flip()] if task.augment else []),
            Normalize.from_stats(config["mean"], config["std"]),
        ],
        bs=task.batch_size,
        num_workers=task.workers,
    )


def parameter_groups(network: nn.Module, task: Task) -> list[list[nn.Parameter]]:
    """Give what `freeze` freezes, then the rest."""
    if task.trains == "all":
        return [list(network.parameters())]
    parts = parts_of(task.weights)
    names = parts.body if task.trains == "head" else parts.first_half
    frozen = [value for name in names for value in network.get_submodule(name).parameters()]
    known = {id(value) for value in frozen}
    return [frozen, [value for value in network.parameters() if id(value) not in known]]


if __name__ == "__main__":
    main(read_task(__doc__))
