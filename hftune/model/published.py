"""Weights with their own head -> a classifier ready to use; nothing reset, no name guessed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from timm.data import ImageNetInfo, infer_imagenet_subset
from torch import nn

from hftune.core import BaseFacts, InputSpec, LabelSpace, RepoRef
from hftune.errors import ModelError
from hftune.model.backbone import fit_input, input_spec_of
from hftune.model.construct import construct, shaping_args
from hftune.model.hub_config import HubConfig, read_config, weights_in
from hftune.model.layer_map import head_modules
from hftune.model.weights import load_into, read_weights
from hftune.recipe.schema import ModelRecipe

_MULTI_LABEL = "multi_label_classification"
_REGRESSION = "regression"
# What timm's names of ImageNet weights hold: resnet50.a1_in1k, vit_tiny_patch16_224.augreg_in21k.
_IMAGENET_TAGS = ("in1k", "in12k", "in21k", "in22k", "imagenet")


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A module in evaluation mode (on the CPU, fp32), what it wants to see, and its classes."""

    module: nn.Module
    input_spec: InputSpec
    labels: LabelSpace


def load_classifier(source: RepoRef) -> Classifier:
    """Load a pulled repository or folder in timm's Hub format, with the head that it holds.

    Raises ModelError when its class names are not known, and WeightsError.
    """
    if source.folder is None:
        raise ValueError("the repository has not been pulled")
    config = read_config(source.folder, repo_id=source.repo_id)
    content = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    names = config.label_names or known_names(content, config.hub_id)
    if not names:
        raise ModelError(
            "this model does not say which classes it tells apart",
            allowed="class names in 'label_names' of its config.json",
            where=source.repo_id or str(source.folder),
            remedy="add the names in the order of training; numbers alone would be a guess",
        )
    kind = content.get("problem_type")
    labels = LabelSpace(names=names, multi=kind == _MULTI_LABEL, numeric=kind == _REGRESSION)
    module = rebuild(config, weights_in(source), num_classes=len(names))
    return Classifier(module=module, input_spec=input_spec_of(_PLAIN, config), labels=labels)


def load_trained(
    base: BaseFacts, weights: Path, *, input_spec: InputSpec, labels: LabelSpace
) -> Classifier:
    """Load what a run trained from `base`. Raises ModelError and WeightsError."""
    config = HubConfig(
        architecture=base.architecture,
        pretrained_cfg=base.pretrained_cfg,
        model_args=base.model_args,
    )
    module = rebuild(config, weights, num_classes=labels.size)
    return Classifier(module=module, input_spec=input_spec, labels=labels)


def rebuild(config: HubConfig, weights: Path, *, num_classes: int) -> nn.Module:
    """Build the module that a weight file was saved from, in evaluation mode, head included.

    Raises ModelError and WeightsError.
    """
    module = construct(
        config, shaping_args(_PLAIN, config), recipe=_PLAIN, num_classes=num_classes, seed=0
    )
    head = head_modules(module)
    tensors = fit_input(
        read_weights(weights), module, head, config=config, channels=config.input_size[0]
    )
    load_into(module, tensors, where=str(weights))
    return module.eval()


def known_names(content: Mapping[str, object], hub_id: str | None) -> tuple[str, ...]:
    """Give ImageNet's names for weights that are ImageNet's by name and class count, else none.

    A class count alone proves nothing. Two classes of one word are told apart by their synset.
    """
    nested = content.get("pretrained_cfg")
    stated = cast("Mapping[str, object]", nested) if isinstance(nested, Mapping) else content
    tag = str(stated.get("tag") or hub_id or "").rpartition(".")[2].lower()
    if not any(part in tag for part in _IMAGENET_TAGS):
        return ()
    count = content.get("num_classes") or stated.get("num_classes")
    subset = infer_imagenet_subset({"num_classes": count})
    if subset is None:
        return ()
    info = ImageNetInfo(subset)
    words = {synset: info.label_name_to_description(synset) for synset in info.label_names()}
    often = Counter(words.values())
    return tuple(f"{w} ({s})" if often[w] > 1 else w for s, w in words.items())


_PLAIN = ModelRecipe()
