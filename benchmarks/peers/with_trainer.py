"""The Trainer of transformers over its timm wrapper, as in its image classification guide."""

import time
from typing import Any

import torch
from torch import nn
from torchvision.datasets import ImageFolder
from transformers import (
    AutoModelForImageClassification,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.peers.network import (
    eval_transform,
    frozen_modules,
    hold_still,
    tell_answers,
    train_transform,
)
from benchmarks.peers.parts import count_classes
from benchmarks.peers.task import Clock, Task, read_task, say


class StillTrainer(Trainer):
    """A Trainer that holds the normalisation statistics of frozen modules still.

    It puts the whole model into training mode before each step, and asks for the loss after that.
    """

    still: tuple[nn.Module, ...] = ()

    def compute_loss(self, model: nn.Module, *words: Any, **options: Any) -> Any:
        """Give the loss of a step."""
        if model.training:
            hold_still(self.still)
        return super().compute_loss(model, *words, **options)


class Told(TrainerCallback):
    """Tells the clock of steps."""

    def __init__(self, clock: Clock, batch_size: int) -> None:
        self.clock = clock
        self.batch_size = batch_size

    def on_train_begin(self, *_: object, **__: object) -> None:
        """Start the clock, before the first batch."""
        self.clock.start()

    def on_step_end(self, *_: object, **__: object) -> None:
        """Count a step."""
        self.clock.step(self.batch_size)

    def on_train_end(self, *_: object, **__: object) -> None:
        """Stop the clock."""
        self.clock.stop()


def main(task: Task) -> None:
    """Train and judge, or only judge."""
    torch.manual_seed(task.seed)
    model = AutoModelForImageClassification.from_pretrained(
        task.weights, num_labels=count_classes(task.images), ignore_mismatched_sizes=True
    )
    frozen = frozen_modules(model.timm_model, task)
    for module in frozen:
        module.requires_grad_(requires_grad=False)
    arguments = TrainingArguments(
        output_dir=str(task.scratch),
        num_train_epochs=task.epochs,
        per_device_train_batch_size=task.batch_size,
        per_device_eval_batch_size=task.batch_size,
        learning_rate=task.lr,
        weight_decay=task.weight_decay,
        lr_scheduler_type="constant",
        dataloader_num_workers=task.workers,
        dataloader_persistent_workers=task.workers > 0,
        dataloader_drop_last=True,
        eval_strategy="epoch" if task.judge_every_epoch else "no",
        save_strategy="no",
        report_to="none",
        bf16=task.precision == "bf16",
        remove_unused_columns=False,
        seed=task.seed,
    )
    trainer = StillTrainer(
        model=model,
        args=arguments,
        train_dataset=ImageFolder(task.images / "train", train_transform(model.timm_model, task)),
        eval_dataset=ImageFolder(task.images / "val", eval_transform(model.timm_model)),
        data_collator=collate,
        compute_metrics=tell,
        callbacks=[Told(Clock(), task.batch_size)],
    )
    trainer.still = tuple(frozen)
    if task.mode == "train":
        trainer.train()
        if not task.judge_every_epoch:
            trainer.evaluate()
        return
    trainer.evaluate()
    before = time.perf_counter()
    trainer.evaluate()
    say(
        "evaluated",
        images_per_second=len(trainer.eval_dataset) / (time.perf_counter() - before),
    )


def collate(examples: list[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
    """Give a batch as the model takes it."""
    return {
        "pixel_values": torch.stack([pixels for pixels, _ in examples]),
        "labels": torch.tensor([label for _, label in examples]),
    }


def tell(outcome: EvalPrediction) -> dict[str, float]:
    """Tell how good the model is."""
    tell_answers(outcome.predictions.argmax(axis=1), outcome.label_ids)
    return {}


if __name__ == "__main__":
    main(read_task(__doc__))
