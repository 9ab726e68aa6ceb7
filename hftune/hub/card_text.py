"""What was measured, in a card's words: metrics by name with their intervals, and each class."""

import math
from collections.abc import Mapping

from hftune.core import EvalResult
from hftune.hub.card_facts import CardFacts
from hftune.hub.card_table import cell, folded, table

# metric -> its id among the Hub's metrics, and how it is called
_METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "balanced_accuracy": ("balanced_accuracy", "Balanced accuracy"),
    "exact_match": ("exact_match", "Exact match"),
    "macro_f1": ("f1", "Macro F1"),
    "micro_f1": ("f1", "Micro F1"),
    "macro_precision": ("precision", "Macro precision"),
    "macro_recall": ("recall", "Macro recall"),
    "auroc": ("roc_auc", "ROC AUC"),
    "roc_auc": ("roc_auc", "ROC AUC"),
    "mae": ("mae", "MAE"),
    "rmse": ("rmse", "RMSE"),
    "r2": ("r_squared", "R2"),
    "pearson": ("pearsonr", "Pearson correlation"),
    "spearman": ("spearmanr", "Spearman correlation"),
}
# Shares of images answered right, for which the number of images gives an interval.
_SHARES = frozenset({"accuracy", "exact_match", "top5_accuracy", "top3_accuracy"})
_SPLITS = {"val": "validation"}
_Z95 = 1.959963984540054
# Of more classes than this only those with the lowest F1 are shown.
_MOST_CLASSES = 200
_LOWEST = 20


def metric_id(name: str) -> str:
    """Give the Hub's id of a metric, its own name where the Hub has none."""
    return _METRICS[name][0] if name in _METRICS else name


def metric_name(name: str) -> str:
    """Give a metric's name for people."""
    return _METRICS[name][1] if name in _METRICS else name.replace("_", " ").capitalize()


def split_title(name: str) -> str:
    """Give a split's name as the Hub's data sets use it."""
    return _SPLITS.get(name, name)


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Give the 95% score interval of a share of `count` trials (Wilson 1927)."""
    square = _Z95 * _Z95
    middle = (share + square / (2 * count)) / (1 + square / count)
    spread = math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    half = _Z95 * spread / (1 + square / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def metric_interval(name: str, value: float, count: int) -> tuple[float, float] | None:
    """Give the 95% interval of a metric that is a share of right answers; None for any other."""
    return wilson_interval(value, count) if name in _SHARES and count > 0 else None


def metric_value(value: float) -> str:
    """Give a metric as the card writes it."""
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def headline(facts: CardFacts) -> str:
    """Give the first metric of the last split in a sentence; empty where nothing was judged."""
    result = next((one for one in reversed(facts.results) if one.values), None)
    if result is None:
        return ""
    name, value = next(iter(result.values.items()))
    interval = interval_of(facts, result, name)
    known = ""
    if interval is not None:
        low, high = (metric_value(end) for end in interval)
        known = f" (95% interval {low} to {high})"
    return (
        f"{metric_name(name)} {metric_value(value)}{known} on {result.num_examples:,}"
        f" {split_title(result.split)} images."
    )


def results_section(facts: CardFacts) -> str:
    """Give the section with a row for each metric and a column for each split."""
    if not facts.results:
        return "## Results\n\nNot evaluated."
    header = ["Metric", *(_judged(result) for result in facts.results)]
    names = dict.fromkeys(name for result in facts.results for name in result.values)
    rows = [
        [metric_name(name), *(_with_interval(facts, result, name) for result in facts.results)]
        for name in names
    ]
    rows.append(["Loss", *(metric_value(result.loss) for result in facts.results)])
    left_out = [
        f"{split_title(result.split)}: {result.num_bad} more could not be read and count nowhere."
        for result in facts.results
        if result.num_bad
    ]
    return "\n\n".join(["## Results", table(header, rows), *_explained(facts), *left_out])


def interval_of(facts: CardFacts, result: EvalResult, name: str) -> tuple[float, float] | None:
    """Give a metric's 95% interval, by resamples where they give one; None where none is known."""
    given = facts.intervals.get((result.split, name))
    if given is not None:
        return given
    return metric_interval(name, result.values[name], result.num_examples)


def _judged(result: EvalResult) -> str:
    return f"{split_title(result.split).capitalize()}, {result.num_examples:,} images"


def _with_interval(facts: CardFacts, result: EvalResult, name: str) -> str:
    if name not in result.values:
        return ""
    value, interval = metric_value(result.values[name]), interval_of(facts, result, name)
    if interval is None:
        return value
    low, high = (metric_value(end) for end in interval)
    return f"{value} ({low} to {high})"


def _explained(facts: CardFacts) -> list[str]:
    """Say what the brackets hold."""
    shown = [
        ((result.split, name) in facts.intervals, interval_of(facts, result, name) is not None)
        for result in facts.results
        for name in result.values
    ]
    resampled = any(given for given, _ in shown)
    wilson = any(known and not given for given, known in shown)
    if not (resampled or wilson):
        return []
    ways = []
    if resampled:
        ways.append("over 2,000 bootstrap resamples of the images")
    if wilson:
        ways.append("by Wilson's formula for a share" + " where resamples say nothing" * resampled)
    return [f"In brackets: 95% intervals, {' or '.join(ways)}."]


def class_section(facts: CardFacts) -> str:
    """Give the per-class table of the last split that has one, and the picture."""
    result = next((result for result in reversed(facts.results) if result.per_class), None)
    parts = [] if result is None else [_class_table(result)]
    if facts.picture is not None:
        shown = "Predicted and true numbers" if facts.labels.numeric else "Confusion matrix"
        parts.append(f"![{shown}]({facts.picture})")
    return "\n\n".join(parts)


def _class_table(result: EvalResult) -> str:
    split, classes = split_title(result.split), result.per_class
    columns = list(dict.fromkeys(key for row in classes.values() for key in row))
    header = ["Class", *(metric_name(key) for key in columns)]
    if len(classes) > _MOST_CLASSES:
        hardest = sorted(classes, key=lambda name: classes[name].get("f1", 1.0))[:_LOWEST]
        shown = table(header, [_class_row(name, classes[name], columns) for name in hardest])
        return (
            f"### The {_LOWEST} classes with the lowest F1, {split} split\n\n{shown}\n\n"
            f"All {len(classes):,} are in `hftune/run.json`."
        )
    rows = [_class_row(name, row, columns) for name, row in classes.items()]
    return f"### Each class, {split} split\n\n{folded(header, rows, 'all classes')}"


def _class_row(name: str, row: Mapping[str, float], columns: list[str]) -> list[str]:
    return [cell(name), *(_number(row.get(key)) for key in columns)]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if float(value).is_integer() and abs(value) > 1 else f"{value:.4f}"
