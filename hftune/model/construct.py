"""timm's constructors behind one checked door: no download, seeded, every refusal explained."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping
from typing import cast

import timm
import torch
from torch import nn

from hftune.errors import ModelError
from hftune.model.hub_config import HubConfig
from hftune.recipe.schema import ModelRecipe

# Constructor arguments that have a setting of their own.
_OWN_SETTINGS = {
    "in_chans": "model.channels",
    "img_size": "model.image_size",
    "drop_rate": "model.drop_rate",
    "drop_path_rate": "model.drop_path",
    "num_classes": "the classes of the data",
    "pretrained": "model.pretrained",
    "pretrained_cfg": "model.repo",
    "pretrained_cfg_overlay": "model.repo",
    "checkpoint_path": "model.weights",
    "cache_dir": "model.repo",
    "features_only": "another library: hftune trains classifiers",
}
_DROP_RATES = ("drop_rate", "drop_path_rate")
_REFUSED = re.compile(r"unexpected keyword argument\W+(?:s\W+)?(\w+)")
# What timm's constructors raise at values that they cannot build.
_BUILD_ERRORS = (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError)


def shaping_args(recipe: ModelRecipe, config: HubConfig) -> dict[str, object]:
    """Give the constructor arguments that rebuild the weights' shapes: no classes, no dropout.

    Raises ModelError for an option that has a setting of its own.
    """
    for option in recipe.options:
        if option in _OWN_SETTINGS:
            raise ModelError(
                f"the option '{option}' is set elsewhere",
                where=f"model.options.{option}",
                remedy=f"use {_OWN_SETTINGS[option]} instead",
            )
    kept = {key: value for key, value in config.model_args.items() if not is_runtime(key)}
    args = {**kept, **recipe.options}
    channels = recipe.channels or config.input_size[0]
    if channels != 3 or "in_chans" in args:
        args["in_chans"] = channels
    if recipe.image_size is not None and _has_fixed_size(config, args):
        args["img_size"] = image_size(recipe, config)
    return {key: tuple(v) if isinstance(v, list) else v for key, v in args.items()}


def image_size(recipe: ModelRecipe, config: HubConfig) -> tuple[int, int]:
    """Give height and width in pixels: the recipe's, or those the weights were made for."""
    size = recipe.image_size
    if size is None:
        return config.input_size[1:]
    return (size, size) if isinstance(size, int) else size


def construct(
    config: HubConfig,
    args: Mapping[str, object],
    *,
    recipe: ModelRecipe,
    num_classes: int,
    seed: int,
) -> nn.Module:
    """Build the architecture on the CPU with random values drawn from `seed`.

    The global random state is as before. Raises ModelError.
    """
    drops = dict(zip(_DROP_RATES, (recipe.drop_rate, recipe.drop_path), strict=True))
    while True:
        try:
            return _create(config, {**args, **drops, "num_classes": num_classes}, seed=seed)
        except _BUILD_ERRORS as error:
            refused = _REFUSED.search(str(error)) if isinstance(error, TypeError) else None
            # A rate of zero asks nothing of an architecture that has no such rate.
            if refused is None or drops.pop(refused[1], 1.0) != 0:
                option = refused[1] if refused is not None else None
                raise _refusal(config, args, option, error) from error


def _create(config: HubConfig, args: Mapping[str, object], *, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        module = timm.create_model(
            config.architecture,
            pretrained=False,
            pretrained_cfg=dict(config.pretrained_cfg),
            **args,
        )
    return cast("nn.Module", module).float()


def is_runtime(option: str) -> bool:
    """Say whether an option leaves the weights' shapes alone."""
    drops = ("drop_rate", "drop_path_rate", "drop_block_rate")
    return option in ("num_classes", "pretrained") or option.endswith(drops)


def _has_fixed_size(config: HubConfig, args: Mapping[str, object]) -> bool:
    """Say whether the architecture is built for one image size, which then is an argument."""
    if "img_size" in args:
        return True
    return bool(config.pretrained_cfg.get("fixed_input_size")) and not args.get("dynamic_img_size")


def _refusal(
    config: HubConfig, args: Mapping[str, object], option: str | None, error: Exception
) -> ModelError:
    if option is None:
        return ModelError(
            f"{config.architecture} cannot be built with these settings",
            found=", ".join(f"{key}={value}" for key, value in args.items()) or "no options",
            allowed=str(error).strip() or None,
            where="model.image_size, model.channels and model.options",
        )
    setting = _OWN_SETTINGS.get(option, f"model.options.{option}")
    if option in _DROP_RATES:
        return ModelError(
            f"{config.architecture} takes no '{option}'",
            allowed="0",
            where=setting,
            remedy=f"remove {setting}",
        )
    known = _option_names(config)
    close = difflib.get_close_matches(option, known, n=3)
    return ModelError(
        f"{config.architecture} takes no '{option}'",
        allowed=f"close names: {', '.join(close)}" if close else ", ".join(known),
        where=setting,
        remedy=f"remove {setting}",
    )


def _option_names(config: HubConfig) -> list[str]:
    """Name the options of the architecture's class, which is only known once one is built."""
    plain = _create(
        HubConfig(architecture=config.architecture, pretrained_cfg={}, model_args={}), {}, seed=0
    )
    names = inspect.signature(type(plain).__init__).parameters
    return [name for name in names if name not in (*_OWN_SETTINGS, "self", "kwargs", "cfg")]
