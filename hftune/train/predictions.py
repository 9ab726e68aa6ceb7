"""What the best weights said about every image of a split, kept in the run to compare runs by."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hftune.core import Split
from hftune.errors import RunFolderError
from hftune.files import write_bytes

FOLDER = "predictions"


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Raw outputs `logits` float32 [N, K] and `targets` [N] or [N, K] of a split, in its order.

    `digest` is the split's: equal digests mean the same images, labels and order.
    """

    split: str
    digest: str
    logits: Tensor
    targets: Tensor


def predictions_file(run: Path, split: str) -> Path:
    """Give where a run keeps what it said about the split of this name."""
    return run / FOLDER / f"{split}.safetensors"


def write_predictions(run: Path, split: Split, *, logits: Tensor, targets: Tensor) -> None:
    """Replace the run's predictions for `split` in one step. Called by rank 0 only.

    `logits` float [N, K] and `targets` [N] or [N, K] lie on the CPU. Raises DiskError.
    """
    tensors = {"logits": logits.float().contiguous(), "targets": targets.contiguous()}
    content = save(tensors, metadata={"split": split.name, "digest": split.digest})
    write_bytes(predictions_file(run, split.name), content)


def read_predictions(run: Path, split: str) -> Predictions | None:
    """Read what a run said about a split; None where it was trained by a version that kept nothing.

    Raises RunFolderError for a damaged file.
    """
    path = predictions_file(run, split)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            return Predictions(
                split=split,
                digest=facts.get("digest", ""),
                logits=file.get_tensor("logits"),
                targets=file.get_tensor("targets"),
            )
    except SafetensorError as error:
        raise RunFolderError(
            "the predictions of this run cannot be read",
            found=str(error),
            where=str(path),
            remedy="remove the file; it is made again from the run's best weights",
        ) from error
