"""What the numbers that a frozen prefix gives depend on, as one digest."""

import hashlib
from dataclasses import asdict, dataclass
from importlib.metadata import version

import torch
from torch import nn

from hftune.core import BaseFacts, InputSpec, Split
from hftune.data.rows import PartRows
from hftune.files import digest_json
from hftune.model.prefix import Cut, prefix_state
from hftune.recipe.schema import Component

# Raised where the same prefix and images would give other rows.
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Views:
    """How images come to the prefix: `number` augmented versions of each, or as in evaluation.

    `seed` is that of the augmentations where they draw at random, else None.
    """

    number: int = 1
    augment: tuple[Component, ...] | None = None
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """What the last bits of a number depend on."""

    precision: str
    device: torch.device
    layout: torch.memory_format
    batch_size: int
    dtype: torch.dtype

    def to_json(self) -> dict[str, str]:
        """Give all of it as texts, with the versions of what computes."""
        is_gpu = self.device.type == "cuda"
        return {
            "precision": self.precision,
            "device": torch.cuda.get_device_name(self.device) if is_gpu else self.device.type,
            "layout": str(self.layout),
            "batch": str(self.batch_size),
            "dtype": str(self.dtype),
            **{name: version(name) for name in ("torch", "timm", "pillow")},
        }


def prefix_digest(module: nn.Module, cut: Cut, base: BaseFacts) -> str:
    """Give a digest of the layers that a prefix runs: how they are put together, and their values.

    Reads all of them (host-device sync).
    """
    total = hashlib.blake2b(digest_size=20)
    total.update(f"{base.architecture} {dict(base.model_args)} {cut.prefix} {cut.packing}".encode())
    for node in cut.prefix.nodes:
        if node.op == "call_module":
            total.update(repr(module.get_submodule(str(node.target))).encode())
    for name, tensor in sorted(prefix_state(module, cut).items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        values = tensor.cpu().contiguous().reshape(-1).view(torch.uint8)
        total.update(values.numpy().data)
    return total.hexdigest()


def feature_key(
    prefix: str, split: Split, views: Views, *, spec: InputSpec, numerics: Numerics
) -> str:
    """Give what identifies the rows of a split, from the `prefix_digest` of the layers."""
    augment = views.augment
    return digest_json(
        {
            "version": _VERSION,
            "prefix": prefix,
            "split": _content(split),
            "input": asdict(spec),
            "views": views.number,
            "augment": None if augment is None else [asdict(one) for one in augment],
            "seed": views.seed,
            **numerics.to_json(),
        }
    )


def _content(split: Split) -> list[object]:
    """Give texts that change with the images of a split, times of files included."""
    rows = getattr(split.rows, "rows", split.rows)  # what reads through a cache holds the rows
    return [split.digest, rows.part.contents()] if isinstance(rows, PartRows) else [split.digest]
