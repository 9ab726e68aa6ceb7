"""Accelerate's image classification example: its loop, with a timm network and AdamW."""

import time

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from benchmarks.peers.network import (
    eval_transform,
    frozen_modules,
    hold_still,
    load_network,
    tell_judged,
    train_transform,
)
from benchmarks.peers.task import Clock, Task, read_task, say


def main(task: Task) -> None:
    """Train and judge, or only judge."""
    accelerator = Accelerator(mixed_precision="bf16" if task.precision == "bf16" else "no")
    network = load_network(task)
    share = task.batch_size // accelerator.num_processes
    train = DataLoader(
        ImageFolder(task.images / "train", train_transform(network, task)),
        batch_size=share,
        shuffle=True,
        drop_last=True,
        num_workers=task.workers,
        persistent_workers=task.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
    val = DataLoader(
        ImageFolder(task.images / "val", eval_transform(network)),
        batch_size=share,
        num_workers=task.workers,
        persistent_workers=task.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
    frozen = frozen_modules(network, task)
    learnable = [value for value in network.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(learnable, lr=task.lr, weight_decay=task.weight_decay)
    network, optimizer, train, val = accelerator.prepare(network, optimizer, train, val)
    if task.mode == "evaluate":
        judge(accelerator, network, val)
        before = time.perf_counter()
        judge(accelerator, network, val)
        say("evaluated", images_per_second=len(val.dataset) / (time.perf_counter() - before))
        return
    clock = Clock(speaks=accelerator.is_main_process)
    clock.start()
    for _ in range(task.epochs):
        network.train()
        hold_still(frozen)
        for inputs, targets in train:
            loss = nn.functional.cross_entropy(network(inputs), targets)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            clock.step(task.batch_size)
        if task.judge_every_epoch:
            judge(accelerator, network, val)
    clock.stop()
    if not task.judge_every_epoch:
        judge(accelerator, network, val)
    accelerator.end_training()


def judge(accelerator: Accelerator, network: nn.Module, batches: DataLoader) -> None:
    """Tell how good the network is. Called by every process."""
    network.eval()
    logits, answers = [], []
    with torch.no_grad():
        for inputs, targets in batches:
            own = accelerator.gather_for_metrics((network(inputs), targets))
            logits.append(own[0].cpu())
            answers.append(own[1].cpu())
    if accelerator.is_main_process:
        tell_judged(torch.cat(logits), torch.cat(answers))


if __name__ == "__main__":
    main(read_task(__doc__))
