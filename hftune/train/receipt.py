"""The freeze receipt: proof, tensor by tensor, that what was to stand still did.

Opened on the model as it was built, before a checkpoint is restored, so that also a run that goes
on compares with the base itself; closed on the weights that are published.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hftune.core import Model, RunPlan
from hftune.errors import DefectError
from hftune.files import write_json
from hftune.model.freeze import BatchNormPolicy, set_train_mode
from hftune.model.skeleton import skeleton
from hftune.train.receipt_record import RECEIPT_FILE, PartTotal, Receipt, TensorRecord

logger = logging.getLogger(__name__)

_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class FrozenNames:
    """Names of tensors in no phase's trainable set.

    `standing` are parameters and buffers that nothing may change; `moving` are running statistics
    of frozen layers that `freeze.batch_norm: train` lets follow the new images.
    """

    standing: tuple[str, ...]
    moving: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class OpenReceipt:
    """The hashes before training, waiting for those after it."""

    model: Model
    names: FrozenNames
    before: Mapping[str, str]

    def close(self, run: Path, state: Mapping[str, Tensor]) -> Receipt:
        """Compare with `state`, the weights to be published, and write `run/receipt.json`.

        Called by rank 0. Raises DefectError where a frozen tensor changed; the receipt is written
        all the same.
        """
        every = (*self.names.standing, *self.names.moving)
        records = self._records(hash_tensors(state, every))
        receipt = Receipt(
            base=self.model.base.hub_id,
            commit=self.model.base.commit if self.model.base.hub_id is not None else None,
            parts=_parts(self.model),
            frozen={name: records[name] for name in self.names.standing},
            moving={name: records[name] for name in self.names.moving},
        )
        write_json(run / RECEIPT_FILE, receipt.to_json())
        if receipt.changed:
            raise _moved(receipt.changed, run)
        logger.info(
            "%d frozen tensors, %.1f%% of the parameters, are bit for bit what they were",
            *(len(receipt.frozen), 100 * receipt.share),
        )
        return receipt

    def _records(self, after: Mapping[str, str]) -> dict[str, TensorRecord]:
        model = self.model
        state = model.module.state_dict()
        parameters = {name for name, _ in model.module.named_parameters()}
        loaded = set(model.weights.matched)
        return {
            name: TensorRecord(
                kind="parameter" if name in parameters else "buffer",
                part=_part(model, name),
                numbers=state[name].numel(),
                from_base=name in loaded and model.layers.role[name] != "head",
                before=self.before[name],
                after=digest,
            )
            for name, digest in after.items()
        }


def open_receipt(plan: RunPlan, model: Model) -> OpenReceipt | None:
    """Hash what the plan never trains; None where everything trains.

    To be called when the plan is made and before any checkpoint is restored into `model`.
    """
    names = frozen_names(plan, model)
    if names is None:
        return None
    before = hash_tensors(model.module.state_dict(), (*names.standing, *names.moving))
    return OpenReceipt(model=model, names=names, before=before)


def frozen_names(plan: RunPlan, model: Model) -> FrozenNames | None:
    """Name the parameters and buffers that no phase trains; None where every parameter trains.

    A buffer is frozen with its layer: where freezing leaves the layer in evaluation mode in every
    phase. Only what a state_dict holds counts.
    """
    module = model.module
    trained = frozenset[str]().union(*(phase.trainable for phase in plan.phases))
    parameters = {name for name, _ in module.named_parameters()} - trained
    if not parameters:
        return None
    state = [name for name in module.state_dict() if name in model.layers.depth]
    buffers = {name for name, _ in module.named_buffers()}
    fixed = _always_evaluating(plan, model, plan.recipe.freeze.batch_norm)
    frozen = _always_evaluating(plan, model, "statistics") | fixed
    standing = parameters | {name for name in buffers if _owner(name) in fixed}
    moving = {name for name in buffers if _owner(name) in frozen - fixed}
    return FrozenNames(
        standing=tuple(name for name in state if name in standing),
        moving=tuple(name for name in state if name in moving),
    )


def hash_tensors(state: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, str]:
    """Give the sha256 of each named tensor, as 64 hex digits.

    Hashed are the text 'float32 [8, 3, 3, 3]' with a line feed (dtype and shape, as numpy writes
    them), then the values row by row, as they lie in a safetensors file. Copies to the CPU.
    """
    return {name: _hash(state[name]) for name in names}


def _hash(tensor: Tensor) -> str:
    plain = tensor.detach().cpu().contiguous()  # host-device sync
    kind = str(plain.dtype).removeprefix("torch.")
    digest = hashlib.sha256(f"{kind} {list(plain.shape)}\n".encode())
    digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _always_evaluating(plan: RunPlan, model: Model, policy: BatchNormPolicy) -> set[str]:
    """Name the modules that are in evaluation mode in every phase, tried on a copy."""
    copy = skeleton(model.module, torch.device("meta"))
    found = {name for name, _ in copy.named_modules()}
    for phase in plan.phases:
        set_train_mode(copy, model.layers, trainable=phase.trainable, batch_norm=policy)
        found -= {name for name, child in copy.named_modules() if child.training}
    return found


def _parts(model: Model) -> dict[str, PartTotal]:
    """Count what each part holds, from input to head."""
    state = [name for name in model.module.state_dict() if name in model.layers.stage]
    parameters = dict(model.module.named_parameters())
    members: dict[str, list[str]] = {}
    for name in sorted(state, key=lambda name: model.layers.stage[name]):
        members.setdefault(_part(model, name), []).append(name)
    return {
        part: PartTotal(
            tensors=len(names),
            parameters=sum(parameters[n].numel() for n in names if n in parameters),
        )
        for part, names in members.items()
    }


def _part(model: Model, name: str) -> str:
    layers = model.layers
    return "head" if layers.role[name] == "head" else f"stage.{layers.stage[name]}"


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _moved(names: tuple[str, ...], run: Path) -> DefectError:
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return DefectError(
        f"{len(names)} tensors changed that no phase trains",
        found=shown,
        where=str(run / RECEIPT_FILE),
        remedy="code that the recipe names (a loss, an optimizer) may have written to them; "
        "otherwise please report this with the recipe and the receipt",
    )
