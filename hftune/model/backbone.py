"""A pulled timm folder, or an architecture's name -> a module with a head for these classes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from timm.models import adapt_input_conv, model_entrypoint
from torch import Tensor, nn

from hftune.core import BaseFacts, InputSpec, LabelSpace, Model, RepoRef, WeightsReport
from hftune.errors import ModelError
from hftune.files import user_path
from hftune.hub.base_terms import OtherTerms, read_other_terms
from hftune.hub.card import read_license
from hftune.model.construct import construct, image_size, is_runtime, shaping_args
from hftune.model.head import centre_head, pick_rows, start_head
from hftune.model.hub_config import HubConfig, read_config, registry_config, weights_in
from hftune.model.kept_rows import KeptRows, describe_kept, find_kept
from hftune.model.layer_map import head_modules, is_under, map_layers
from hftune.model.weights import load_into, read_weights
from hftune.recipe.schema import ModelRecipe

logger = logging.getLogger(__name__)

Filter = Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]]


def build_model(
    recipe: ModelRecipe, labels: LabelSpace, *, source: RepoRef | None, seed: int = 0
) -> Model:
    """Build the recipe's backbone on the CPU in fp32, with a head for `labels`.

    `source` is the pulled repository or folder; None where the recipe names an architecture only.
    Classes that the base knows by name keep their rows of its head, unless the recipe wants a new
    one, and the others start from the mean of its rows; equal counts alone keep nothing. A new head
    for a number starts at the mean of the training targets, where `labels` state it. Random values
    come from `seed` alone, and the global random state is as before. Nothing is downloaded. Raises
    ModelError and WeightsError.
    """
    config = _config(recipe, source)
    args = shaping_args(recipe, config)
    module = construct(config, args, recipe=recipe, num_classes=labels.size, seed=seed)
    head = head_modules(module)
    if recipe.pretrained:
        path = _weights_path(recipe, source)
        tensors = read_weights(
            path, strip_prefix=recipe.strip_prefix, allow_pickle=recipe.allow_pickle
        )
        channels = recipe.channels or config.input_size[0]
        tensors = fit_input(tensors, module, head, config=config, channels=channels)
        kept = find_kept(recipe, config, labels)
        report = _fill(module, tensors, head=head, kept=kept, path=path)
    else:
        report = WeightsReport(reset=tuple(module.state_dict()))
        logger.info("%s starts from random values, seed %d", config.architecture, seed)
    if report.reset and report.head is None:
        start_head(module, head, num_classes=labels.size, init=recipe.head_init, seed=seed)
        if labels.spread is not None:
            centre_head(module, head, num_classes=labels.size, value=labels.spread.mean)
    return Model(
        module=module,
        input_spec=input_spec_of(recipe, config),
        layers=map_layers(module),
        weights=report,
        base=_base_facts(recipe, config, args, source),
    )


def _config(recipe: ModelRecipe, source: RepoRef | None) -> HubConfig:
    """Settle the architecture; the recipe and the repository must not name different ones."""
    named = recipe.architecture
    if source is None or source.folder is None:
        if named is None:
            raise ModelError(
                "no model is named",
                allowed="a repository or folder in model.repo, or a name in model.architecture",
                where="model",
            )
        return registry_config(named)
    config = read_config(source.folder, repo_id=source.repo_id)
    if named is not None and named.partition(".")[0] != config.architecture:
        raise ModelError(
            "the recipe and the repository name different architectures",
            found=f"{named} in the recipe, {config.architecture} in the repository",
            where="model.architecture",
            remedy="remove model.architecture; the repository states it",
        )
    return config


def _fill(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    head: tuple[str, ...],
    kept: KeptRows | None,
    path: Path,
) -> WeightsReport:
    """Load the tensors, of the head the rows that are kept or none, and say so in a line."""
    if kept is None:
        report = load_into(module, tensors, head=head, where=str(path))
    else:
        made = pick_rows(
            tensors, head, rows=kept.rows, num_base=kept.start.num_base, where=str(path)
        )
        report = replace(load_into(module, made, where=str(path)), head=kept.start)
        if None in kept.rows:
            fresh = tuple(name for name in report.matched if is_under(name, head))
            old = tuple(name for name in report.matched if name not in fresh)
            report = replace(report, matched=old, reset=fresh)
    logger.info(
        "%s: %d tensors loaded, %d reset, %d missing, %d left over; the head is %s",
        path.name,
        len(report.matched),
        len(report.reset),
        len(report.missing),
        len(report.left_over),
        describe_kept(kept),
    )
    return report


def _weights_path(recipe: ModelRecipe, source: RepoRef | None) -> Path:
    if recipe.weights is not None:
        return user_path(recipe.weights)
    if source is None:
        raise ModelError(
            "the architecture is known, its weights are not",
            found=f"model.architecture {recipe.architecture}, no repository and no file",
            where="model",
            remedy="set model.repo or model.weights, or model.pretrained: false to start at random",
        )
    return weights_in(source)


def fit_input(
    tensors: dict[str, Tensor],
    module: nn.Module,
    head: tuple[str, ...],
    *,
    config: HubConfig,
    channels: int,
) -> dict[str, Tensor]:
    """Adapt tensors to the module's image size and `channels` with timm's own rules.

    timm's filter of a family also renames what older versions called otherwise. It is used only
    where names or shapes do not fit as they are. The background class with which a few old heads
    begin is dropped.
    """
    first = config.label_offset
    tensors = {n: t[first:] if is_under(n, head) and first else t for n, t in tensors.items()}
    wanted = {n: t.shape for n, t in module.state_dict().items() if not is_under(n, head)}
    if all(name in tensors and tensors[name].shape == shape for name, shape in wanted.items()):
        return tensors
    fitted = _filtered(tensors, module, config.architecture)
    fitted = _fit_first_layer(fitted, config, channels)
    known = [name for name in wanted if name in tensors and name in fitted]
    resized = [name for name in known if fitted[name].shape != tensors[name].shape]
    if resized:
        logger.info("adapted to the input's size or channels: %s", ", ".join(resized[:8]))
    return fitted


def _filtered(
    tensors: dict[str, Tensor], module: nn.Module, architecture: str
) -> dict[str, Tensor]:
    family = sys.modules[model_entrypoint(architecture).__module__]
    family_filter = cast("Filter | None", getattr(family, "checkpoint_filter_fn", None))
    if family_filter is None:
        return tensors
    try:
        return family_filter(dict(tensors), module)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        # Filters trip over files of other architectures; the loading then says what is wrong.
        return tensors


def _fit_first_layer(
    tensors: Mapping[str, Tensor], config: HubConfig, channels: int
) -> dict[str, Tensor]:
    """Sum or repeat the first layer's input channels where the model sees another number."""
    fitted = dict(tensors)
    source_channels = config.input_size[0]
    first = config.pretrained_cfg.get("first_conv")
    layers = (first,) if isinstance(first, str) else cast("Sequence[str]", first or ())
    for name in (f"{layer}.weight" for layer in layers):
        if name not in fitted or channels == source_channels:
            continue
        try:
            if source_channels != 3:  # timm's rule before version 1.0.31 takes colour weights only
                raise NotImplementedError
            fitted[name] = adapt_input_conv(channels, fitted[name])
        except NotImplementedError as error:
            raise ModelError(
                "these weights cannot be adapted to this number of channels",
                found=f"weights for {source_channels} channels",
                allowed=f"model.channels: {source_channels}",
                where="model.channels",
            ) from error
    return fitted


def input_spec_of(recipe: ModelRecipe, config: HubConfig) -> InputSpec:
    """Settle what the model sees; for another channel count each channel gets the mean values."""
    facts = config.pretrained_cfg
    height, width = image_size(recipe, config)
    channels = recipe.channels or config.input_size[0]
    crop = recipe.crop_fraction or cast("float", facts["crop_pct"])
    return InputSpec(
        channels=channels,
        height=height,
        width=width,
        mean=_per_channel(cast("Sequence[float]", facts["mean"]), channels),
        std=_per_channel(cast("Sequence[float]", facts["std"]), channels),
        interpolation=str(facts["interpolation"]),
        crop_fraction=crop,
        crop_mode=str(facts["crop_mode"]),
    )


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) == channels:
        return tuple(values)
    return (sum(values) / len(values),) * channels


def _base_facts(
    recipe: ModelRecipe,
    config: HubConfig,
    args: Mapping[str, object],
    source: RepoRef | None,
) -> BaseFacts:
    """Record the origin. Weights from elsewhere, or none, have no Hub name and no licence here."""
    known = source if recipe.pretrained and recipe.weights is None else None
    folder = known.folder if known is not None else None
    stated = read_license(folder) if folder is not None else None
    other = read_other_terms(folder) if folder is not None and stated == "other" else OtherTerms()
    return BaseFacts(
        architecture=config.architecture,
        repo_id=source.repo_id if source is not None else None,
        hub_id=config.hub_id if known is not None else None,
        commit=source.commit if source is not None else None,
        license=stated,
        license_name=other.name,
        license_link=other.link,
        license_text=other.text,
        pretrained=recipe.pretrained,
        pretrained_cfg=config.pretrained_cfg,
        model_args={key: value for key, value in args.items() if not is_runtime(key)},
    )
