"""Weights with their own head -> a classifier ready to use; nothing reset, no name guessed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from hftune.core import BaseFacts, InputSpec, LabelSpace, RepoRef
from hftune.errors import ModelError
from hftune.model.backbone import fit_input, input_spec_of
from hftune.model.class_names import class_names
from hftune.model.construct import construct, shaping_args
from hftune.model.hub_config import HubConfig, read_config, weights_in
from hftune.model.layer_map import head_modules
from hftune.model.weights import load_into, read_weights
from hftune.recipe.schema import ModelRecipe

_MULTI_LABEL = "multi_label_classification"
_REGRESSION = "regression"


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
    names = class_names(config)
    if not names:
        raise ModelError(
            "this model does not say which classes it tells apart",
            allowed="class names in 'label_names' of its config.json",
            where=source.repo_id or str(source.folder),
            remedy="add the names in the order of training; numbers alone would be a guess",
        )
    kind = config.problem_type
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


_PLAIN = ModelRecipe()
