"""The card's words about a number, where other cards speak of classes."""

from hftune.core import LabelSpace, Spread
from hftune.hub.card_table import cell, table


def number_sentence(labels: LabelSpace, *, model: str) -> str:
    """Say in one sentence what the model gives; `model` is its architecture and its start."""
    name = name_of(labels)
    return f"An image regression model ({model}) that gives each image one number, `{name}`."


def number_section(labels: LabelSpace) -> str:
    """Give the section about the number, with what its training targets were like."""
    header, row = ["Position", "Number"], ["0", cell(name_of(labels))]
    if labels.spread is not None:
        header += ["Training minimum", "mean", "maximum", "standard deviation"]
        row += [_short(value) for value in _in_order(labels.spread)]
    text = "The output is the number itself, in the unit of its training targets."
    return f"## Number\n\n{text}\n\n{table(header, [row])}"


def number_limit(labels: LabelSpace) -> str:
    """Say what the number means for an image of something else."""
    text = "Every image gets a number, also one that shows nothing of the kind."
    if labels.spread is None:
        return text
    low, high = _short(labels.spread.minimum), _short(labels.spread.maximum)
    return f"{text} Training saw {low} to {high}; the output is not held within these."


def name_of(labels: LabelSpace) -> str:
    """Give the name of the only number."""
    return labels.names[0]


def _in_order(spread: Spread) -> tuple[float, ...]:
    return spread.minimum, spread.mean, spread.maximum, spread.sd


def _short(value: float) -> str:
    return f"{value:.4g}"
