"""The limit: the same network and precision over tensors that lie in memory already.

Nothing is loaded, augmented or judged while the clock runs. What is frozen runs once: its outputs
are kept, and the rest trains on them.
"""

import time

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from benchmarks.peers.network import eval_transform, load_network, tell_judged
from benchmarks.peers.task import Clock, Task, read_task, say

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# Batches that are held in memory; every epoch goes over them again as often as it takes.
MOST_BATCHES = 32


def main(task: Task) -> None:
    """Train, or only judge."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    network = load_network(task).to(DEVICE, memory_format=torch.channels_last)
    if task.mode == "evaluate":
        time_evaluation(network, task)
        return
    batches, num_steps = load(network, task, "train")
    clock = Clock()
    clock.start()
    train(network, batches, task, num_steps=num_steps, clock=clock)
    clock.stop()
    val, _ = load(network, task, "val")
    network.eval()
    judged = [(answer(network, inputs, task), targets) for inputs, targets in val]
    tell_judged(*(torch.cat(parts) for parts in zip(*judged, strict=True)))


def load(network: nn.Module, task: Task, part: str) -> tuple[list[tuple[Tensor, Tensor]], int]:
    """Give batches on the device, and how many steps an epoch of all images has."""
    images = ImageFolder(task.images / part, eval_transform(network))
    training = part == "train"
    loader = DataLoader(
        images, batch_size=task.batch_size, shuffle=training, drop_last=training,
        num_workers=task.workers,
    )  # fmt: skip
    batches = []
    for inputs, targets in loader:
        on_device = inputs.to(DEVICE, memory_format=torch.channels_last), targets.to(DEVICE)
        batches.append(on_device)
        if training and len(batches) == MOST_BATCHES:
            break
    return batches, len(loader)


def train(
    network: nn.Module,
    batches: list[tuple[Tensor, Tensor]],
    task: Task,
    *,
    num_steps: int,
    clock: Clock,
) -> None:
    """Take every step; the frozen part of the network runs once."""
    prefix, rest = split(network, task)
    if prefix is not None:
        prefix.eval()
        with torch.no_grad():
            batches = [(autocast(prefix, inputs, task), targets) for inputs, targets in batches]
    learnable = [value for value in network.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(learnable, lr=task.lr, weight_decay=task.weight_decay, fused=True)
    rest.train()
    for step in range(task.epochs * num_steps):
        inputs, targets = batches[step % len(batches)]
        loss = nn.functional.cross_entropy(autocast(rest, inputs, task), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        clock.step(len(inputs))


def split(network: nn.Module, task: Task) -> tuple[nn.Module | None, nn.Module]:
    """Give what is frozen, None where nothing is, and the rest, as modules that run in a row."""
    if task.trains == "all":
        return None, network
    if task.trains == "head":
        return Body(network), network.get_classifier()
    if hasattr(network, "blocks"):  # the efficientnets
        early = [network.conv_stem, network.bn1, *network.blocks[:4]]
        late = [*network.blocks[4:], network.conv_head, network.bn2]
    else:  # the resnets
        early = [
            *(network.conv1, network.bn1, network.act1, network.maxpool),
            *(network.layer1, network.layer2),
        ]
        late = [network.layer3, network.layer4]
    return nn.Sequential(*early), nn.Sequential(*late, Classify(network))


class Body(nn.Module):
    """All of a network before its classifier."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Give pooled features [B, F]."""
        return self.network.forward_head(self.network.forward_features(inputs), pre_logits=True)


class Classify(nn.Module):
    """Pooling and the classifier of a network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.forward_head = network.forward_head

    def forward(self, features: Tensor) -> Tensor:
        """Give logits [B, K]."""
        return self.forward_head(features)


def autocast(module: nn.Module, inputs: Tensor, task: Task) -> Tensor:
    """Run a module in the task's precision."""
    with torch.autocast(DEVICE.type, torch.bfloat16, enabled=task.precision == "bf16"):
        return module(inputs)


def answer(network: nn.Module, inputs: Tensor, task: Task) -> Tensor:
    """Give logits, without gradients."""
    with torch.inference_mode():
        return autocast(network, inputs, task)


def time_evaluation(network: nn.Module, task: Task) -> None:
    """Judge twice over tensors in memory, and tell how fast the second pass was."""
    batches, _ = load(network, task, "val")
    network.eval()
    for _ in range(2):
        before = time.perf_counter()
        logits = torch.cat([answer(network, inputs, task).cpu() for inputs, _ in batches])
        seconds = time.perf_counter() - before
    tell_judged(logits, torch.cat([targets for _, targets in batches]).cpu())
    say("evaluated", images_per_second=len(logits) / seconds)


if __name__ == "__main__":
    main(read_task(__doc__))
