"""What every peer takes from timm: the network, what is frozen in it, and its transforms."""

from collections.abc import Iterable

import numpy as np
import timm
import torch
from timm.data import resolve_data_config
from torch import Tensor, nn
from torchvision import transforms

from benchmarks.peers.parts import count_classes, parts_of
from benchmarks.peers.task import Task, say


def load_network(task: Task) -> nn.Module:
    """Give the pretrained network with a new head, as timm starts it, and freeze by the task."""
    torch.manual_seed(task.seed)
    network: nn.Module = timm.create_model(
        f"local-dir:{task.weights}", pretrained=True, num_classes=count_classes(task.images)
    )
    for module in frozen_modules(network, task):
        module.requires_grad_(requires_grad=False)
    return network


def frozen_modules(network: nn.Module, task: Task) -> list[nn.Module]:
    """Give the modules that do not train."""
    if task.trains == "all":
        return []
    parts = parts_of(task.weights)
    names = parts.body if task.trains == "head" else parts.first_half
    return [network.get_submodule(name) for name in names]


def hold_still(modules: Iterable[nn.Module]) -> None:
    """Let frozen modules use, and not move, their normalisation statistics."""
    for module in modules:
        module.eval()


def train_transform(network: nn.Module, task: Task) -> transforms.Compose:
    """Give torchvision's transform for training; without augmentation that of evaluation."""
    if not task.augment:
        return eval_transform(network)
    config = resolve_data_config(model=network)
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(
                config["input_size"][1:],
                scale=(task.min_scale, 1.0),
                interpolation=transforms.InterpolationMode(config["interpolation"]),
            ),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(config["mean"], config["std"]),
        ]
    )


def eval_transform(network: nn.Module) -> transforms.Compose:
    """Give timm's transform for evaluation: resize, central crop, normalise."""
    made: transforms.Compose = timm.data.create_transform(
        **resolve_data_config(model=network), is_training=False
    )
    return made


def tell_judged(logits: Tensor, targets: Tensor) -> None:
    """Tell accuracy and balanced accuracy of logits [N, K] on targets [N]."""
    tell_answers(logits.float().argmax(dim=1).cpu().numpy(), targets.cpu().numpy())


def tell_answers(answers: np.ndarray, targets: np.ndarray) -> None:
    """Tell accuracy and balanced accuracy of class positions [N] on targets [N]."""
    right = answers == targets
    recalls = [right[targets == target].mean() for target in np.unique(targets)]
    say(
        "judged",
        accuracy=float(right.mean()),
        balanced_accuracy=float(np.mean(recalls)),
        num_images=len(targets),
    )
