"""What `optim.swa` must fulfil, as far as its text shows it; the rest is found with the plan."""

from collections.abc import Iterator

from hftune.recipe.read import SettingPath
from hftune.recipe.schema import Recipe, SWARecipe
from hftune.units import parse_span

_Findings = Iterator[tuple[SettingPath, str]]
_START, _EVERY = ("optim", "swa", "start"), ("optim", "swa", "every")


def broken_swa_rules(recipe: Recipe) -> _Findings:
    """Give each setting of the averaging that cannot be carried out, and the sentence about it."""
    swa = recipe.optim.swa
    if swa.start is None:
        if swa.every != SWARecipe().every:
            yield _EVERY, "there is no optim.swa.start that it could belong to"
        return
    if recipe.optim.ema is not None:
        yield (
            _START,
            "optim.ema averages as well, and one average at a time can be judged and published; "
            "keep one of them",
        )
    yield from _no_second_point(swa, swa.start, length=recipe.train.length)


def _no_second_point(swa: SWARecipe, start: str, *, length: str) -> _Findings:
    """Compare start and interval with the length where their units allow it."""
    first, step = _share(start, length), _share(swa.every, length)
    if first is not None and first >= 1:
        yield _START, f"'{start}' is the end of the run, or after it; start before, such as '75%'"
    elif first is not None and step is not None and first + step > 1 + 1e-9:
        yield (
            _EVERY,
            f"'{swa.every}' is longer than what remains of '{length}' after '{start}'; take "
            "weights more often, or start earlier",
        )


def _share(text: str, length: str) -> float | None:
    """Give a span as a fraction of the run; None where that depends on the data."""
    span, whole = parse_span(text), parse_span(length)
    if span.unit == "percent":
        return span.value / 100
    return span.value / whole.value if span.unit == whole.unit else None
