"""`optim.rates`: which rate each parameter has, by the last selector that picks it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hftune.core import LayerMap
from hftune.errors import ModelError, PlanError
from hftune.model.select import select
from hftune.recipe.read import dotted
from hftune.recipe.schema import OptimRecipe

_MULTIPLE = re.compile(r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)\s*x")


@dataclass(frozen=True, kw_only=True)
class LayerRate:
    """What one line of `optim.rates` says: a factor, or the rate over `optim.lr` if `is_fixed`."""

    selector: str
    value: float
    is_fixed: bool

    @property
    def setting(self) -> str:
        """The setting that says it."""
        return dotted(("optim", "rates", self.selector))


def picked_by_rates(
    optim: OptimRecipe, layers: LayerMap, names: Sequence[str]
) -> dict[LayerRate, frozenset[str]]:
    """Give each line of `optim.rates` with the parameters that its selector picks, in order.

    Raises PlanError for a rate that cannot be read, ModelError for a selector that fits nothing.
    """
    picked = {}
    for selector, value in optim.rates.items():
        rate = _read_rate(selector, value, peak=optim.lr)
        try:
            picked[rate] = select((selector,), layers, names)
        except ModelError as error:
            error.where = "optim.rates"
            raise
    return picked


def rates_by_name(
    optim: OptimRecipe, layers: LayerMap, names: Sequence[str]
) -> dict[str, LayerRate]:
    """Give the rate of each parameter that `optim.rates` names; the last line that does wins."""
    result: dict[str, LayerRate] = {}
    for rate, picked in picked_by_rates(optim, layers, names).items():
        result.update(dict.fromkeys(picked, rate))
    return result


def _read_rate(selector: str, value: float | str, *, peak: float) -> LayerRate:
    """Read an absolute rate, or a multiple of the peak rate such as '3x'."""
    if isinstance(value, str):
        match = _MULTIPLE.fullmatch(value.strip())
        number = float(match[1]) if match else math.nan
    else:
        number = float(value)
    if not (math.isfinite(number) and number >= 0):
        raise PlanError(
            f"the rate of '{selector}' cannot be used",
            found=repr(value),
            allowed="a rate such as 1e-4, a multiple of optim.lr such as '3x', or 0 for a freeze",
            where=dotted(("optim", "rates", selector)),
        )
    if isinstance(value, str):
        return LayerRate(selector=selector, value=number, is_fixed=False)
    return LayerRate(selector=selector, value=number / peak, is_fixed=True)
