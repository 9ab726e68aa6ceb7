"""What `freeze`, `unfreeze` and `optim.rates` must fulfil together, as far as text shows it.

What depends on the layers of the model is found when the plan is made.
"""

from collections.abc import Iterator, Mapping

from hftune.errors import ModelError
from hftune.recipe.read import SettingPath, dotted
from hftune.recipe.schema import FreezeRecipe, OptimRecipe, Recipe
from hftune.recipe.selectors import Selector, parse_selector

_Findings = Iterator[tuple[SettingPath, str]]


def broken_freeze_rules(recipe: Recipe) -> _Findings:
    """Give each setting that is no selector, or contradicts another, and the sentence about it."""
    wrong = list(_wrong_selectors(recipe))
    yield from wrong
    if not wrong:
        yield from _contradictions(recipe)


def is_zero_rate(rate: float | str) -> bool:
    """Say whether a rate, absolute or a multiple such as '0x', is zero."""
    return float(str(rate).strip().removesuffix("x")) == 0


def selectors_of(recipe: Recipe) -> Iterator[tuple[SettingPath, str]]:
    """Give every selector of a recipe with its setting."""
    for index, text in enumerate(recipe.freeze.layers):
        yield ("freeze", "layers", index), text
    for position, step in enumerate(recipe.unfreeze):
        for index, text in enumerate(step.train):
            yield ("unfreeze", position, "train", index), text
    for text in recipe.optim.rates:
        yield ("optim", "rates", text), text


def _wrong_selectors(recipe: Recipe) -> _Findings:
    for path, text in selectors_of(recipe):
        try:
            parse_selector(text)
        except ModelError as error:
            advice = error.remedy or f"give {error.allowed}"
            yield path, f"{error.problem}; {advice}"


def _contradictions(recipe: Recipe) -> _Findings:
    everything = _frozen_whole(recipe)
    if everything is not None:
        yield everything, "this freezes everything, so nothing would train; free the head at least"
        return
    zero = _zero_rates(recipe.optim)
    for path, text in selectors_of(recipe):
        selector = parse_selector(text)
        by = _frozen_by(recipe.freeze, selector)
        if by is not None and path[:2] == ("optim", "rates"):
            if not is_zero_rate(recipe.optim.rates[text]):
                yield path, f"'{text}' is given a rate, and frozen by {by}; keep one"
        elif path[0] == "unfreeze" and not selector.negated:
            by = by or zero.get(selector.text)
            if by is not None:
                yield path, f"'{text}' is to train, and frozen for good by {by}; keep one"


def _frozen_whole(recipe: Recipe) -> SettingPath | None:
    """Give the setting that freezes everything by its text alone, or None."""
    listed = _listed(recipe.freeze)
    if "all" in listed or {"backbone", "head"} <= listed:
        return ("freeze", "layers")
    zero = _zero_rates(recipe.optim)
    if "all" in zero or {"backbone", "head"} <= zero.keys():
        return ("optim", "rates")
    return None


def _listed(freeze: FreezeRecipe) -> set[str]:
    """Give what `freeze.layers` surely names whole; nothing where a 'not' takes away from it."""
    selectors = [parse_selector(text) for text in freeze.layers]
    if any(selector.negated for selector in selectors):
        return set()
    return {selector.text for selector in selectors}


def _zero_rates(optim: OptimRecipe) -> Mapping[str, str]:
    """Give the selectors with a rate of zero that no later line may overrule, with the setting."""
    found: dict[str, str] = {}
    for text, rate in optim.rates.items():
        if is_zero_rate(rate):
            found[parse_selector(text).text] = dotted(("optim", "rates", text))
        else:
            found.clear()
    return {} if any(text.startswith("not ") for text in optim.rates) else found


def _frozen_by(freeze: FreezeRecipe, selector: Selector) -> str | None:
    """Give the setting of `freeze` that surely freezes all that a selector picks, or None."""
    part = selector.part
    if selector.negated:
        return None
    if selector.text in _listed(freeze):
        return "freeze.layers"
    if selector.kind == "stage" and isinstance(part, int) and 0 <= part < freeze.stages:
        return f"freeze.stages: {freeze.stages}"
    return None
