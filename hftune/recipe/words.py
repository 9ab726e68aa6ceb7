"""Settings of a recipe in short words, for the plan on a screen and for the card."""

from collections.abc import Iterator, Mapping
from typing import Any

from hftune.recipe.schema import Component, DistillRecipe, MixRecipe, OptimRecipe, Recipe


def component_text(component: Component, *, public: bool = False) -> str:
    """Give a component as name and options; `public`: of this machine's paths the last part."""
    options = ", ".join(
        f"{name}={_plain(value, public)}" for name, value in component.options.items()
    )
    name = _plain(component.name, public)
    return f"{name} ({options})" if options else name


def rates_text(optim: OptimRecipe) -> str:
    """Give the rates by selector; nothing where there are none."""
    return ", ".join(f"{part} {rate}" for part, rate in optim.rates.items())


def extras(recipe: Recipe, *, public: bool = False) -> Iterator[tuple[str, str]]:
    """Give what is off unless a recipe asks for it, as names and words.

    `public`: of this machine's paths only the last part.
    """
    data, optim = recipe.data, recipe.optim
    if data.augment:
        yield (
            "augmentation",
            "; ".join(component_text(part, public=public) for part in data.augment),
        )
    if data.mix.is_on:
        yield "mixing", _mix(data.mix)
    if data.balance:
        yield "balance", f"{data.balance:g} of the way to equal classes"
    if data.class_weights is not None:
        yield "class weights", component_text(data.class_weights, public=public)
    if optim.clip_norm is not None:
        yield "clipping", f"gradient norm at most {optim.clip_norm:g}"
    if optim.l2_sp.strength:
        yield "decay to the start", f"strength {optim.l2_sp.strength:g} in place of weight decay"
    if optim.ema is not None:
        yield "averaged weights", f"decay {optim.ema:g} per step"
    if recipe.distill.teacher is not None:
        yield "teacher", _teacher(recipe.distill, public)


def _mix(mix: MixRecipe) -> str:
    return f"mixup {mix.mixup:g}, CutMix {mix.cutmix:g}, of {mix.p:.0%} per {mix.draw}"


def _teacher(distill: DistillRecipe, public: bool) -> str:
    name, weight = _plain(distill.teacher, public), f"weight {distill.weight:g}"
    return f"{name}, {weight}, temperature {distill.temperature:g}"


def _plain(value: Any, public: bool) -> str:
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{key}: {_plain(item, public)}" for key, item in value.items()) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_plain(item, public) for item in value) + "]"
    if public and isinstance(value, str) and value.startswith(("/", "~/")):
        return f"./{value.rstrip('/').rpartition('/')[2]}"
    return f"{value:g}" if isinstance(value, float) else str(value)
