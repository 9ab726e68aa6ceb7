"""The freeze receipt as a file: which tensors stood still, by their hashes before and after.

`receipt.json` lies in the run folder and is published. No torch, no Accelerate.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hftune.errors import RunFolderError
from hftune.files import read_json

RECEIPT_FILE = "receipt.json"


@dataclass(frozen=True, kw_only=True)
class TensorRecord:
    """One tensor before and after training.

    `part` is 'stage.0' or 'head'; `numbers` are counted; `before` is the hash in the model as it
    was built, `after` in the weights that are published. `from_base` says whether its first values
    are the base's own: not those of a new head, nor of one whose rows were put in order.
    """

    kind: Literal["parameter", "buffer"]
    part: str
    numbers: int
    from_base: bool
    before: str
    after: str

    @property
    def same(self) -> bool:
        """Say whether training left every bit as it was."""
        return self.before == self.after


@dataclass(frozen=True, kw_only=True)
class PartTotal:
    """All that a part of the model holds: its tensors, and the numbers in its parameters."""

    tensors: int
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What no phase trains (`frozen`), and statistics of such layers that do move (`moving`).

    `base` and `commit` name the repository of the pretrained weights, where there is one. `parts`
    are all parts of the model from input to head.
    """

    base: str | None
    commit: str | None
    parts: Mapping[str, PartTotal]
    frozen: Mapping[str, TensorRecord]
    moving: Mapping[str, TensorRecord]

    @property
    def changed(self) -> tuple[str, ...]:
        """The frozen tensors that are not what they were; none, unless something is broken."""
        return tuple(name for name, record in self.frozen.items() if not record.same)

    @property
    def num_parameters(self) -> int:
        """The numbers in all frozen parameters."""
        return sum(r.numbers for r in self.frozen.values() if r.kind == "parameter")

    @property
    def share(self) -> float:
        """The share of the model's parameters that are frozen, 0 to 1."""
        return self.num_parameters / sum(total.parameters for total in self.parts.values())

    def to_json(self) -> dict[str, Any]:
        """Give totals and fields as JSON values."""
        return {
            "base": self.base,
            "commit": self.commit,
            "totals": {
                "frozen_tensors": len(self.frozen),
                "identical_tensors": len(self.frozen) - len(self.changed),
                "tensors": sum(total.tensors for total in self.parts.values()),
                "frozen_parameters": self.num_parameters,
                "parameters": sum(total.parameters for total in self.parts.values()),
                "share": self.share,
            },
            "parts": {name: asdict(total) for name, total in self.parts.items()},
            "frozen": {name: _with_same(record) for name, record in self.frozen.items()},
            "moving": {name: _with_same(record) for name, record in self.moving.items()},
        }


def read_receipt(path: Path) -> Receipt:
    """Read a receipt. Raises RunFolderError for a file that is none."""
    try:
        raw = read_json(path)
        return Receipt(
            base=raw["base"],
            commit=raw["commit"],
            parts={name: PartTotal(**total) for name, total in raw["parts"].items()},
            frozen=_records(raw["frozen"]),
            moving=_records(raw["moving"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(
            "this file is no freeze receipt",
            found=f"{type(error).__name__}: {error}",
            where=str(path),
            remedy="remove it and run the same train command again, which writes it anew",
        ) from error


def _with_same(record: TensorRecord) -> dict[str, Any]:
    return asdict(record) | {"same": record.same}


def _records(raw: Mapping[str, Mapping[str, Any]]) -> dict[str, TensorRecord]:
    """Read records by name; 'same' follows from the hashes and is not read."""
    return {
        name: TensorRecord(**{key: value for key, value in record.items() if key != "same"})
        for name, record in raw.items()
    }
