"""Checkpoints: a folder that is whole or absent; safetensors and JSON only."""

import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hftune.core import Progress
from hftune.errors import RunFolderError
from hftune.files import committed_folder, digest_json, digest_parts
from hftune.train.world import from_first

logger = logging.getLogger(__name__)

# The folder of a run that holds its checkpoints, how their names begin, and what each states.
CHECKPOINTS = "checkpoints"
STEP_PREFIX = "step-"
STATE = "state.json"

_DAMAGED_PREFIX = "damaged-"
# How the safetensors library names a failure of the disk.
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


@dataclass(kw_only=True)
class Memory:
    """What outlives a phase or a process besides the weights.

    `moments` maps a parameter's name to its optimizer state by entry; `group_state` holds what an
    optimizer keeps per group, by the group's label; `scaler` is the fp16 loss scaler's state;
    `average` the averaged weights of optim.ema; `swa` the mean of the `swa_count` points that
    optim.swa took so far, parameters only.
    """

    moments: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    group_state: dict[str, dict[str, float]] = field(default_factory=dict)
    scaler: dict[str, float] | None = None
    average: dict[str, Tensor] | None = None
    swa: dict[str, Tensor] | None = None
    swa_count: int = 0


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint read back: its folder's name, progress, weights by name on the CPU, the rest."""

    name: str
    progress: Progress
    weights: dict[str, Tensor]
    memory: Memory
    plan_digest: str


def commit_checkpoint(
    folder: Path, progress: Progress, *, module: nn.Module, memory: Memory, plan_digest: str
) -> Path:
    """Write `folder/step-NNNNNNNN` in one step and give its path. Called by rank 0 only."""
    final = folder / f"{STEP_PREFIX}{progress.step:08d}"
    with committed_folder(final) as aside:
        tensors = {"model.safetensors": _on_cpu(module.state_dict())}
        tensors["optimizer.safetensors"] = _on_cpu(
            {
                f"{name}/{entry}": value
                for name, state in memory.moments.items()
                for entry, value in state.items()
            }
        )
        for name, values in (("average", memory.average), ("swa", memory.swa)):
            if values is not None:
                tensors[f"{name}.safetensors"] = _on_cpu(values)
        for name, content in tensors.items():
            _save(content, aside / name)
        state: dict[str, object] = {
            "progress": progress.to_json(),
            "group_state": memory.group_state,
            "scaler": memory.scaler,
            "swa_count": memory.swa_count,
            "plan_digest": plan_digest,
            "digests": {name: digest_parts(aside / name) for name in tensors},
        }
        state["digest"] = digest_json(state)
        (aside / STATE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    return final


def restore(run: Path, module: nn.Module) -> tuple[Progress, Memory]:
    """Load the newest whole checkpoint into `module`, or give a fresh start.

    Called by every rank; rank 0 chooses, so that all go on from the same step. Raises
    RunFolderError where the chosen one is not seen by every rank.
    """
    folder = run / CHECKPOINTS
    checkpoint = newest_checkpoint(folder) if PartialState().is_main_process else None
    name = from_first(None if checkpoint is None else checkpoint.name)
    if name is None:
        return Progress(), Memory()
    if checkpoint is None:
        checkpoint = _read_shared(folder / name)
    module.load_state_dict(checkpoint.weights)
    logger.info("continuing after step %d", checkpoint.progress.step)
    return checkpoint.progress, checkpoint.memory


def _read_shared(path: Path) -> Checkpoint:
    """Read what rank 0 chose. Raises RunFolderError where this machine does not see it."""
    if not path.is_dir():
        raise RunFolderError(
            "a process of this run does not see the checkpoint that the others go on from",
            found=f"no {path.name}",
            where=str(path.parent),
            remedy="give --output a folder that all machines of the run share",
        )
    return read_checkpoint(path)


def prune_checkpoints(folder: Path, *, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints. Called by rank 0 only."""
    for path in list_checkpoints(folder)[:-keep]:
        going = path.with_name(f".{path.name}.part")  # never half a folder under its own name
        path.rename(going)
        shutil.rmtree(going)


def list_checkpoints(folder: Path) -> list[Path]:
    """Give the whole checkpoints in `folder`, oldest first."""
    return sorted(path for path in folder.glob(STEP_PREFIX + "*") if path.is_dir())


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the newest checkpoint that is undamaged, or give None where there is none.

    A damaged one is named in a warning and set aside under another name. Called by rank 0 only.
    """
    for path in reversed(list_checkpoints(folder)):
        try:
            return read_checkpoint(path)
        except RunFolderError as error:
            aside = path.with_name(f"{_DAMAGED_PREFIX}{path.name}")
            if aside.exists():
                shutil.rmtree(aside)
            path.rename(aside)
            logger.warning("%s; it is set aside as %s", error.problem, aside.name)
    if any(folder.glob(f"{_DAMAGED_PREFIX}*")):
        logger.warning("no whole checkpoint is left in %s: the run begins again", folder)
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint and verify every digest. Raises RunFolderError where it is damaged."""
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        whole = state.pop("digest") == digest_json(state)
        wrong = [] if whole else [STATE]
        wrong += [
            name for name, digest in state["digests"].items() if digest_parts(path / name) != digest
        ]
        progress = read_progress(state["progress"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if wrong:
        raise _damaged(path, f"other content in {', '.join(wrong)}")
    moments: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(path / "optimizer.safetensors").items():
        name, _, entry = key.rpartition("/")
        moments.setdefault(name, {})[entry] = value
    return Checkpoint(
        name=path.name,
        progress=progress,
        weights=load_file(path / "model.safetensors"),
        memory=Memory(
            moments=moments,
            group_state=state["group_state"],
            scaler=state["scaler"],
            average=_if_there(path / "average.safetensors"),
            swa=_if_there(path / "swa.safetensors"),
            swa_count=state.get("swa_count", 0),
        ),
        plan_digest=state["plan_digest"],
    )


def read_progress(values: Mapping[str, object]) -> Progress:
    """Give Progress from its JSON form; unknown fields are an error."""
    known = {item.name for item in fields(Progress)}
    if unknown := set(values) - known:
        raise ValueError(f"unknown progress fields {sorted(unknown)}")
    return Progress(**values)  # type: ignore[arg-type]  # written by to_json


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors. Raises OSError where the disk does not take them."""
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        number = _OS_ERROR.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def _if_there(path: Path) -> dict[str, Tensor] | None:
    return load_file(path) if path.exists() else None


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give contiguous copies on the CPU: safetensors takes neither shared nor strided memory."""
    return {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }


def _damaged(path: Path, reason: str) -> RunFolderError:
    return RunFolderError(f"checkpoint {path.name} is damaged: {reason}", where=str(path))
