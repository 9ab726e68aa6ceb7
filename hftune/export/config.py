"""The `config.json` of a published model: what timm and transformers need to build it again."""

from collections.abc import Mapping
from typing import Any

from hftune.core import InputSpec
from hftune.errors import PublishError
from hftune.files import digest_json
from hftune.train.run_facts import ModelRecord

# transformers picks softmax, sigmoid or neither by this key; timm ignores it.
PROBLEM_TYPES = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}
# What is kept of the base's own facts: how the architecture is put together, and its provenance.
# Everything else (its address, its label names, its test size) would be untrue of the new weights.
_KEPT_FACTS = (
    "fixed_input_size",
    "min_input_size",
    "first_conv",
    "classifier",
    "license",
    "origin_url",
    "paper_name",
    "paper_ids",
)


def timm_config(
    model: ModelRecord, *, num_features: int, global_pool: str, run: str
) -> dict[str, Any]:
    """Give the `config.json` of `model`; the transform in it is exactly the evaluated one.

    `num_features` and `global_pool` (empty where the model has none by name) inform the reader.

    Raises PublishError when a constructor option cannot be written as JSON.
    """
    num_classes = len(model.label_names)
    model_args = _model_args(model)
    config: dict[str, Any] = {
        "architecture": model.architecture.split(".", 1)[0],
        "num_classes": num_classes,
        "num_features": num_features,
    }
    if global_pool:
        config["global_pool"] = global_pool
    config["label_names"] = list(model.label_names)
    config["problem_type"] = PROBLEM_TYPES[model.problem]
    if model_args:
        config["model_args"] = model_args
    config["pretrained_cfg"] = _pretrained_cfg(model, num_classes)
    config["hftune"] = {
        "run": run,
        "base_model": model.base.hub_id or model.base.repo_id,
        "labels_digest": labels_digest(model.label_names),
    }
    return config


def shapes_weights(option: str) -> bool:
    """Say whether a constructor option belongs into `model_args`: it decides the weights' shapes.

    Never the class count: both loaders pass it themselves, and transformers fails when the
    constructor gets it twice. Never dropout: it matters to the training that is over.
    """
    runtime = option == "num_classes" or option.startswith(("pretrained", "checkpoint_path"))
    return not runtime and not option.endswith(("drop_rate", "drop_path_rate", "drop_block_rate"))


def labels_digest(names: tuple[str, ...] | list[str]) -> str:
    """Give the sha256 of the class names in their order."""
    return digest_json(list(names))


def transform_facts(spec: InputSpec) -> dict[str, Any]:
    """Give an input spec in timm's words."""
    return {
        "input_size": [spec.channels, spec.height, spec.width],
        "interpolation": spec.interpolation,
        "crop_pct": spec.crop_fraction,
        "crop_mode": spec.crop_mode,
        "mean": list(spec.mean),
        "std": list(spec.std),
    }


def _model_args(model: ModelRecord) -> dict[str, Any]:
    args = {key: value for key, value in model.model_args.items() if shapes_weights(key)}
    spec = model.input_spec
    if spec.channels != 3:
        args.setdefault("in_chans", spec.channels)
    if model.pretrained_cfg.get("fixed_input_size") and not _same_size(model.pretrained_cfg, spec):
        args.setdefault("img_size", [spec.height, spec.width])
    _require_json(args)
    return args


def _pretrained_cfg(model: ModelRecord, num_classes: int) -> dict[str, Any]:
    known = model.pretrained_cfg
    facts = {key: known[key] for key in _KEPT_FACTS if known.get(key) is not None}
    facts["custom_load"] = False  # native timm keys, whatever format the base came in
    facts.update(transform_facts(model.input_spec))
    facts["num_classes"] = num_classes
    if _same_size(known, model.input_spec) and known.get("pool_size") is not None:
        facts["pool_size"] = known["pool_size"]
    return facts


def _same_size(known: Mapping[str, Any], spec: InputSpec) -> bool:
    size = known.get("input_size")
    return size is not None and tuple(size[1:]) == (spec.height, spec.width)


def _require_json(model_args: Mapping[str, Any]) -> None:
    try:
        digest_json(dict(model_args))
    except (TypeError, ValueError) as error:
        raise PublishError(
            "a constructor option of this model cannot be written into config.json",
            found=str(error),
            allowed="text, numbers, lists and mappings",
            where="model.options",
        ) from error
