"""What must be true of a folder before anybody may publish it, checked from its files alone.

Each check stands for one way in which a pushed model was seen to fail or to lie: a loader that
refuses it, names that get lost, pixels that differ from those of the reported metric.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from hftune.errors import PublishError
from hftune.export.config import PROBLEM_TYPES, shapes_weights
from hftune.export.frozen import check_receipt
from hftune.export.license import check_license
from hftune.hub.contents import read_contents

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CARD = "README.md"
RECORD = "hftune/run.json"

_WRAPPER_PREFIXES = ("module.", "_orig_mod.", "timm_model.")
_DERIVED_KEYS = ("model_type", "architectures", "id2label", "label2id")


@dataclass(frozen=True, kw_only=True)
class Published:
    """A folder's facts as the checks see them: its config and the shapes in its weight file."""

    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def pretrained_cfg(self) -> Mapping[str, Any]:
        """The block that timm reads, empty if it is absent."""
        block = self.config.get("pretrained_cfg")
        return block if isinstance(block, Mapping) else {}

    @property
    def model_args(self) -> Mapping[str, Any]:
        """The constructor options, empty if there are none."""
        block = self.config.get("model_args")
        return block if isinstance(block, Mapping) else {}


def check_folder(folder: Path) -> None:
    """Refuse a folder that timm, transformers or the Hub page would not read as it is meant.

    Raises PublishError with every finding; one of the model comes before those of single files.
    """
    published = Published(
        config=_read_config(folder / CONFIG), shapes=tensor_shapes(folder / WEIGHTS)
    )
    findings = [finding for check in CHECKS for finding in check(published)]
    findings += check_receipt(folder, folder / WEIGHTS)
    findings += check_license(folder / CARD, folder / RECORD)
    if findings:
        raise PublishError(
            "this folder would not be read as it is meant",
            found="\n".join(findings),
            where=str(folder),
            remedy="build it again from the run: hftune export RUN",
        )
    read_contents(folder)


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes in a safetensors file from its header. Raises PublishError."""
    if not path.is_file():
        raise PublishError(f"there is no {path.name}", where=str(path.parent))
    try:
        with safe_open(path, framework="numpy") as weights:
            names = weights.keys()
            return {name: tuple(weights.get_slice(name).get_shape()) for name in names}
    except SafetensorError as error:
        raise PublishError(
            "the weight file is damaged", found=str(error), where=str(path)
        ) from error


def check_constructor(published: Published) -> Iterator[str]:
    """Find options that both loaders pass themselves: given twice, transformers stops (T1)."""
    for option in published.model_args:
        if not shapes_weights(option):
            yield f"model_args holds {option!r}, which loaders pass to the constructor themselves"


def check_keys(published: Published) -> Iterator[str]:
    """Find weights that were saved from inside a wrapper (T3)."""
    wrapped = [name for name in published.shapes if name.startswith(_WRAPPER_PREFIXES)]
    if wrapped:
        yield f"{len(wrapped)} weights are named after a wrapper, for instance {wrapped[0]!r}"


def check_names(published: Published) -> Iterator[str]:
    """Find class names that a loader would drop, renumber or misread (T4 to T8)."""
    names = published.config.get("label_names")
    count = published.config.get("num_classes")
    if "label_names" in published.pretrained_cfg:
        yield "pretrained_cfg holds class names of its own, those of the base"
    if names is None:
        yield "label_names is missing: loaders would show numbers, or the base's names"
        return
    if not isinstance(names, list):
        yield f"label_names is a {type(names).__name__}; only a list keeps its names everywhere"
        return
    if any(not isinstance(name, str) or not name for name in names):
        yield "label_names holds something else than non-empty text"
    doubled = [name for name, often in Counter(map(str, names)).items() if often > 1]
    if doubled:
        yield f"label_names repeats {', '.join(doubled[:5])}"
    if len(names) != count:
        yield f"label_names has {len(names)} names for {count} classes"


def check_head(published: Published) -> Iterator[str]:
    """Find class counts that disagree with each other or with the head's rows (T7, T8)."""
    count = published.config.get("num_classes")
    stated = published.pretrained_cfg.get("num_classes")
    if stated != count:
        yield f"pretrained_cfg.num_classes is {stated}, num_classes is {count}"
    classifier = published.pretrained_cfg.get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    for name in heads:
        shape = published.shapes.get(f"{name}.weight")
        if shape is None:
            yield f"the weight file has no {name}.weight, which pretrained_cfg calls the classifier"
        elif shape[0] != count:
            yield f"{name}.weight has {shape[0]} rows for {count} classes"


def check_problem(published: Published) -> Iterator[str]:
    """Find a problem type that transformers refuses or scores wrongly (T9)."""
    kind = published.config.get("problem_type")
    if kind not in PROBLEM_TYPES.values():
        yield f"problem_type is {kind!r}"
    if kind == "single_label_classification" and published.config.get("num_classes") == 1:
        yield "one class with one label per image: train two classes, the other being its absence"
    if kind == "regression" and published.config.get("num_classes") != 1:
        yield f"regression with {published.config.get('num_classes')} outputs, not one number"


def check_transform(published: Published) -> Iterator[str]:
    """Find pixels that would differ from those the metric was measured on (T10, T11)."""
    block = published.pretrained_cfg
    if not block:
        yield "pretrained_cfg is missing: transformers would not recognise a timm model"
        return
    for key in ("test_input_size", "test_crop_pct"):
        if key in block:
            yield f"pretrained_cfg.{key} is the base's; the metric was not measured there"
    for key in ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std"):
        if key not in block:
            yield f"pretrained_cfg.{key} is missing"
    size = block.get("input_size")
    channels = size[0] if isinstance(size, list) and len(size) == 3 else None
    if channels is None:
        yield f"pretrained_cfg.input_size is {size!r}, not [channels, height, width]"
    for key in ("mean", "std"):
        if len(block.get(key, ())) != channels:
            yield f"pretrained_cfg.{key} has {len(block.get(key, ()))} values, channels: {channels}"
    if published.model_args.get("in_chans", 3) != channels:
        yield f"input_size has {channels} channels, model_args builds a model for another number"


def check_single_truth(published: Published) -> Iterator[str]:
    """Find keys that loaders derive: written down as well, two truths drift apart."""
    for key in _DERIVED_KEYS:
        if key in published.config:
            yield f"config.json holds {key!r}, which loaders derive from the other keys"


CHECKS: tuple[Callable[[Published], Iterator[str]], ...] = (
    check_constructor,
    check_keys,
    check_names,
    check_head,
    check_problem,
    check_transform,
    check_single_truth,
)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PublishError(f"there is no {path.name}", where=str(path.parent)) from error
    except ValueError as error:
        raise PublishError("config.json is not JSON", found=str(error), where=str(path)) from error
    if not isinstance(config, dict):
        raise PublishError("config.json holds no JSON object", where=str(path))
    return config
