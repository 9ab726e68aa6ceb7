"""What the best weights said about every image of a split, kept in the run to compare runs by."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hftune.core import Split
from hftune.errors import RunFolderError
from hftune.files import digest_json, write_bytes

if TYPE_CHECKING:
    from hftune.train.evaluate import Outputs

FOLDER = "predictions"


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Raw outputs `logits` float32 [N, K] and `targets` [N] or [N, K] of a split, in its order.

    Equal digests mean the same images, labels and order.
    """

    split: str
    digest: str
    logits: Tensor
    targets: Tensor


def predictions_file(run: Path, split: str) -> Path:
    """Give where a run keeps what it said about the split of this name."""
    return run / FOLDER / f"{split}.safetensors"


def predictions_from(split: Split, outputs: "Outputs") -> Predictions:
    """Give what was said about `split`; its digest is the split's, if no image was left out."""
    left_out = [one.row for one in outputs.bad]
    return Predictions(
        split=split.name,
        digest=digest_json([split.digest, left_out]) if left_out else split.digest,
        logits=outputs.logits,
        targets=outputs.targets,
    )


def write_predictions(run: Path, said: Predictions) -> None:
    """Replace the run's predictions for a split in one step. Called by rank 0 only.

    All tensors lie on the CPU. Raises DiskError.
    """
    tensors = {"logits": said.logits.float().contiguous(), "targets": said.targets.contiguous()}
    content = save(tensors, metadata={"split": said.split, "digest": said.digest})
    write_bytes(predictions_file(run, said.split), content)


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
