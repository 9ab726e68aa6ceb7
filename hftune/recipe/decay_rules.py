"""What weight decay, `optim.l2_sp` and the optimizers that go by it must fulfil together."""

import re
from collections.abc import Iterator

from hftune.recipe.read import SettingPath
from hftune.recipe.schema import Recipe

_Findings = Iterator[tuple[SettingPath, str]]

# LARS, LARC, LAMB and their variants, by timm's names.
_BY_TRUST_RATIO = re.compile(r"n?lar[cs]|c?lamb[cdw]*")


def broken_decay_rules(recipe: Recipe) -> _Findings:
    """Give each setting that goes against another, and the sentence about it."""
    yield from _trust_ratio(recipe)
    yield from _l2_sp(recipe)


def _trust_ratio(recipe: Recipe) -> _Findings:
    method = recipe.optim.method
    if (
        _BY_TRUST_RATIO.fullmatch(method.name)
        and recipe.optim.weight_decay == 0
        and not method.options.get("always_adapt")
    ):
        yield (
            ("optim", "method"),
            f"'{method.name}' adapts the rate of what has weight decay, and optim.weight_decay "
            "is 0; add the option always_adapt: true",
        )


def _l2_sp(recipe: Recipe) -> _Findings:
    if recipe.optim.l2_sp.strength == 0:
        return
    if recipe.optim.weight_decay > 0:
        yield (
            ("optim", "weight_decay"),
            f"this is {recipe.optim.weight_decay:g}, and optim.l2_sp takes its place; "
            "set optim.weight_decay: 0",
        )
    if not recipe.model.pretrained:
        yield (
            ("model", "pretrained"),
            "this is false, so that there is no pretrained point for optim.l2_sp to draw to; "
            "keep one",
        )
