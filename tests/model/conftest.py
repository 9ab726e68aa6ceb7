"""Small timm models and folders in timm's Hub format, written by timm itself."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from timm.models import save_for_hf
from torch import nn

from hftune.core import RepoRef

BASE_NAMES = ("ant", "bee", "cat", "dog")


@pytest.fixture
def write_base(tmp_path: Path) -> Callable[..., RepoRef]:
    """A function that saves a model with random weights as a pulled repository."""

    def write(
        architecture: str = "test_resnet",
        *,
        names: object = BASE_NAMES,
        num_classes: int = len(BASE_NAMES),
        options: dict[str, object] | None = None,
    ) -> RepoRef:
        folder = tmp_path / f"base-{architecture}"
        torch.manual_seed(1)
        module = timm.create_model(architecture, num_classes=num_classes, **(options or {}))
        jitter(module)
        labels = {} if names is None else {"label_names": names}
        save_for_hf(
            module, folder, safe_serialization=True, model_config=labels, model_args=options
        )
        return RepoRef(repo_id="org/base", commit="a" * 40, folder=folder)

    return write


def jitter(module: nn.Module) -> None:
    """Move every float tensor off its usual start, so that a tensor left random shows."""
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.rand_like(tensor) * 0.01)
