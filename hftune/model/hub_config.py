"""What a pulled timm folder says about its weights: the `config.json` beside them."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import timm
from timm.models import PretrainedCfg, filter_pretrained_cfg, resolve_pretrained_cfg
from timm.models import split_model_name_tag as split_tag

from hftune.core import RepoRef
from hftune.errors import ModelError, WeightsError
from hftune.files import read_json
from hftune.model.config_facts import checked_facts, checked_options
from hftune.model.weights import PICKLED

_KNOWN = {entry.name for entry in dataclasses.fields(PretrainedCfg)}
# What belongs to the classes of the base, or says where timm would fetch weights.
_DROPPED = {"label_names", "label_descriptions", "num_classes", "state_dict", "custom_load"}
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class HubConfig:
    """An architecture and the facts of its weights, as timm's Hub format states them.

    `label_names` are the classes of the head in order, empty where nobody states them;
    `num_classes` is how many the head has, where that is stated. `problem_type` is transformers'
    word for what the head answers. `tag` names the training of timm's own weights (a1_in1k);
    `hub_id` is the weights' full name on the Hub; `input_size` is channels, height, width.
    """

    architecture: str
    pretrained_cfg: Mapping[str, object]
    model_args: Mapping[str, object]
    label_names: tuple[str, ...] = ()
    label_offset: int = 0
    num_classes: int | None = None
    problem_type: str | None = None
    tag: str | None = None
    hub_id: str | None = None

    @property
    def input_size(self) -> tuple[int, int, int]:
        """Channels, height and width that the weights were made for."""
        channels, height, width = cast("Sequence[int]", self.pretrained_cfg["input_size"])
        channels = cast("int", self.model_args.get("in_chans") or channels)
        size = self.model_args.get("img_size") or (height, width)
        height, width = (size, size) if isinstance(size, int) else cast("Sequence[int]", size)
        return channels, height, width


def read_config(folder: Path, *, repo_id: str | None) -> HubConfig:
    """Read `config.json` in timm's Hub format. Raises ModelError."""
    path = folder / "config.json"
    content = _read_json(path)
    architecture = content.get("architecture")
    if not isinstance(architecture, str):
        raise ModelError(
            "this repository holds no timm model",
            found=f"keys {', '.join(sorted(content)[:8])}",
            allowed="a config.json with 'architecture' and 'pretrained_cfg'",
            where=str(path),
            remedy="choose a repository whose card says 'library_name: timm'",
        )
    nested = content.get("pretrained_cfg")
    # Old timm repositories keep everything on one level.
    stated = nested if isinstance(nested, dict) else content
    stated = checked_facts({"num_classes": content.get("num_classes"), **stated}, where=str(path))
    names = content.get("label_names") or stated.get("label_names") or stated.get("labels")
    offset = stated.get("label_offset")
    count = content.get("num_classes") or stated.get("num_classes")
    return HubConfig(
        architecture=known_architecture(architecture, where=str(path)),
        pretrained_cfg=_facts(PretrainedCfg(**{k: v for k, v in stated.items() if k in _KNOWN})),
        model_args=checked_options(content.get("model_args"), where=str(path)),
        label_names=_ordered(names),
        label_offset=offset if isinstance(offset, int) else 0,
        num_classes=count if isinstance(count, int) else None,
        problem_type=_text(content.get("problem_type")),
        tag=_text(stated.get("tag")),
        hub_id=repo_id or _hub_id(stated),
    )


def registry_config(architecture: str) -> HubConfig:
    """Give timm's own facts of an architecture, with or without a weight tag. Raises ModelError."""
    name = known_architecture(split_tag(architecture)[0], where="model.architecture")
    try:
        facts = resolve_pretrained_cfg(architecture)
    except RuntimeError as error:  # timm knows no such tag
        raise ModelError(
            "no such weight tag", found=str(error), where="model.architecture"
        ) from error
    return HubConfig(architecture=name, pretrained_cfg=_facts(facts), model_args={})


def known_architecture(name: str, *, where: str) -> str:
    """Give `name` back if timm can build it. Raises ModelError with the closest names."""
    if timm.is_model(name):
        return name
    known = timm.list_models()
    close = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
    raise ModelError(
        "timm knows no such architecture",
        found=name,
        allowed=f"close names: {', '.join(close)}" if close else f"one of {len(known)} names",
        where=where,
        remedy="for a repository or folder set model.repo; "
        "a newer timm may know the name: pip install --upgrade timm",
    )


def weights_in(source: RepoRef) -> Path:
    """Find the safetensors file of a pulled repository. Raises WeightsError."""
    if source.folder is None:
        raise ValueError("the repository has not been pulled")
    found = sorted(source.folder.glob("*.safetensors"))
    preferred = source.folder / _WEIGHTS
    if preferred in found or len(found) == 1:
        return preferred if preferred in found else found[0]
    pickles = sorted(path.name for path in source.folder.iterdir() if path.suffix in PICKLED)
    if found or not pickles:
        raise WeightsError(
            "it is not clear which file holds the weights" if found else "no weights here",
            found=", ".join(path.name for path in found) or "no .safetensors file",
            allowed=_WEIGHTS,
            where=str(source.folder),
            remedy="name the file in model.weights" if found else None,
        )
    raise WeightsError(
        "this repository holds pickled weights only, which can run code when read",
        found=", ".join(pickles),
        allowed=_WEIGHTS,
        where=source.repo_id or str(source.folder),
        remedy="choose a repository with safetensors, convert the file, or download it yourself "
        "and set model.weights to its path and model.allow_pickle: true",
    )


def _read_json(path: Path) -> dict[str, object]:
    try:
        content: object = read_json(path)
    except FileNotFoundError as error:
        raise ModelError(
            "this folder holds no timm model",
            found="no config.json",
            where=str(path.parent),
            remedy="choose a repository in timm's Hub format, or set model.architecture and "
            "model.weights",
        ) from error
    except ValueError as error:
        raise ModelError("this file is no JSON", found=str(error), where=str(path)) from error
    if not isinstance(content, dict):
        raise ModelError("this file holds no settings", where=str(path), allowed="a JSON object")
    return content


def _facts(pretrained_cfg: PretrainedCfg) -> dict[str, object]:
    """Give the facts that stay true of the weights wherever they lie."""
    facts = filter_pretrained_cfg(dataclasses.asdict(pretrained_cfg), remove_source=True)
    plain = {k: v for k, v in facts.items() if k not in _DROPPED and k != "label_offset"}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}


def _ordered(names: object) -> tuple[str, ...]:
    """Give class names by position, from a list or from a mapping of position to name."""
    if isinstance(names, Mapping):
        positions = {int(key): str(name) for key, name in names.items() if str(key).isdigit()}
        whole = sorted(positions) == list(range(len(names)))
        return tuple(positions[p] for p in sorted(positions)) if whole else ()
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _hub_id(stated: Mapping[str, object]) -> str | None:
    hub_id = stated.get("hf_hub_id")
    return hub_id if isinstance(hub_id, str) and not hub_id.endswith("/") else None
