"""The freeze receipt on its way out: what the card says of it, and whether the weights agree."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hftune.errors import RunFolderError
from hftune.export.config import shapes_weights
from hftune.hub.card_facts import FrozenFacts, FrozenPart
from hftune.model.weights import read_weights
from hftune.train.receipt import hash_tensors
from hftune.train.receipt_record import RECEIPT_FILE, Receipt, TensorRecord, read_receipt
from hftune.train.run_facts import RunFacts

RECEIPT = f"hftune/{RECEIPT_FILE}"
_SHOWN = 4


def frozen_facts(facts: RunFacts) -> FrozenFacts | None:
    """Give what the card says about frozen layers; None where the run has no receipt.

    Raises RunFolderError for a receipt that cannot be read.
    """
    path = facts.folder / RECEIPT_FILE
    if not path.is_file():
        return None
    receipt = read_receipt(path)
    own = {n: r for n, r in receipt.frozen.items() if r.from_base or receipt.base is None}
    tensors = Counter(record.part for record in own.values())
    parameters = _parameters(own)
    return FrozenFacts(
        parts=tuple(
            FrozenPart(
                name=name,
                tensors=tensors[name],
                of_tensors=total.tensors,
                parameters=parameters[name],
                of_parameters=total.parameters,
            )
            for name, total in receipt.parts.items()
        ),
        base=receipt.base,
        commit=receipt.commit,
        others=tuple(name for name in receipt.frozen if name not in own),
        num_moving=len(receipt.moving),
        model_args={k: v for k, v in facts.model.base.model_args.items() if shapes_weights(k)},
    )


def copy_receipt(run: Path, folder: Path) -> None:
    """Copy the run's receipt, where it has one, to where it is published."""
    source = run / RECEIPT_FILE
    if source.is_file():
        target = folder / RECEIPT
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def check_receipt(folder: Path, weights: Path) -> Iterator[str]:
    """Find what a folder's receipt claims and its weight file does not hold."""
    path = folder / RECEIPT
    if not path.is_file():
        return
    try:
        receipt = read_receipt(path)
    except RunFolderError as error:
        yield f"{RECEIPT} cannot be read: {error.found}"
        return
    if receipt.changed:
        yield f"{RECEIPT} says that frozen tensors changed: {_listed(receipt.changed)}"
    yield from _unlike(receipt, weights)


def _unlike(receipt: Receipt, weights: Path) -> Iterator[str]:
    claimed = {**receipt.frozen, **receipt.moving}
    tensors = read_weights(weights)
    missing = tuple(name for name in claimed if name not in tensors)
    if missing:
        yield f"{RECEIPT} names tensors that are not in the weight file: {_listed(missing)}"
    found = hash_tensors(tensors, [name for name in claimed if name in tensors])
    other = tuple(name for name, digest in found.items() if digest != claimed[name].after)
    if other:
        yield f"{RECEIPT} holds other hashes than the weight file gives: {_listed(other)}"


def _parameters(records: dict[str, TensorRecord]) -> Counter[str]:
    """Count the numbers in parameters by part."""
    count: Counter[str] = Counter()
    for record in records.values():
        if record.kind == "parameter":
            count[record.part] += record.numbers
    return count


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
