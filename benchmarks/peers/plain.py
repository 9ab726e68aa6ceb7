"""The plain loop of PyTorch's transfer learning tutorial, with loader workers and AdamW."""

import time

import torch
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

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main(task: Task) -> None:
    """Train and judge, or only judge."""
    network = load_network(task).to(DEVICE)
    val = loader(task, "val", eval_transform(network), shuffle=False)
    if task.mode == "evaluate":
        judge_twice(network, val, task)
        return
    train(network, loader(task, "train", train_transform(network, task), shuffle=True), val, task)


def loader(task: Task, part: str, transform: object, *, shuffle: bool) -> DataLoader:
    """Give a loader over a part of the images."""
    return DataLoader(
        ImageFolder(task.images / part, transform),
        batch_size=task.batch_size,
        shuffle=shuffle,
        drop_last=shuffle,
        num_workers=task.workers,
        persistent_workers=task.workers > 0,
        pin_memory=DEVICE.type == "cuda",
    )


def train(network: nn.Module, batches: DataLoader, val: DataLoader, task: Task) -> None:
    """Take every step; judge at the end, or after every epoch."""
    learnable = [value for value in network.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(learnable, lr=task.lr, weight_decay=task.weight_decay)
    criterion = nn.CrossEntropyLoss()
    frozen = frozen_modules(network, task)
    clock = Clock()
    clock.start()
    for epoch in range(task.epochs):
        network.train()
        hold_still(frozen)
        running_loss = 0.0
        for inputs, targets in batches:
            inputs, targets = inputs.to(DEVICE, non_blocking=True), targets.to(DEVICE)
            optimizer.zero_grad()
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=task.precision == "bf16"):
                loss = criterion(network(inputs), targets)
            loss.backward()
            optimizer.step()
            running_loss += loss.item() * len(inputs)
            clock.step(len(inputs))
        print(f"epoch {epoch}: loss {running_loss / len(batches.dataset):.4f}")
        if task.judge_every_epoch:
            judge(network, val, task)
    clock.stop()
    if not task.judge_every_epoch:
        judge(network, val, task)


def judge(network: nn.Module, batches: DataLoader, task: Task) -> None:
    """Tell how good the network is."""
    network.eval()
    logits, answers = [], []
    with torch.no_grad():
        for inputs, targets in batches:
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=task.precision == "bf16"):
                logits.append(network(inputs.to(DEVICE, non_blocking=True)).cpu())
            answers.append(targets)
    tell_judged(torch.cat(logits), torch.cat(answers))


def judge_twice(network: nn.Module, batches: DataLoader, task: Task) -> None:
    """Judge twice, and tell how fast the second pass was."""
    judge(network, batches, task)
    before = time.perf_counter()
    judge(network, batches, task)
    say("evaluated", images_per_second=len(batches.dataset) / (time.perf_counter() - before))


if __name__ == "__main__":
    main(read_task(__doc__))
