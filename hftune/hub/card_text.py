"""The part of a model card that people read: sections in a fixed order, from plain facts."""

import math
from collections.abc import Mapping
from pathlib import Path

from hftune.core import EvalResult
from hftune.hub.card_audit import audit_section
from hftune.hub.card_facts import CardFacts
from hftune.hub.card_frozen import frozen_section
from hftune.hub.card_number import number_limit, number_section, number_sentence
from hftune.hub.card_table import cell as _cell
from hftune.hub.card_table import table as _table
from hftune.hub.card_usage import usage_section

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
_LONG_TABLE = 30
_Z95 = 1.959963984540054


def human_part(facts: CardFacts) -> str:
    """Give the text between the markers, without them."""
    sections = (
        f"# {_cell(facts.run)}",
        _sentence(facts),
        _labels(facts),
        _metrics(facts),
        _per_class(facts),
        f"## Calibration\n\n{facts.calibration}" if facts.calibration else "",
        usage_section(facts),
        _training(facts),
        frozen_section(facts.frozen, repo_id=facts.repo_id) if facts.frozen else "",
        _data(facts),
        audit_section(facts.data.audit) if facts.data.audit else "",
        _limits(facts),
        _lineage(facts),
        _versions(facts),
    )
    return "\n\n".join(section for section in sections if section)


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


def _sentence(facts: CardFacts) -> str:
    if facts.summary is not None:
        return facts.summary
    base = facts.base.hub_id or facts.base.repo_id
    start = "trained from scratch"
    if facts.base.pretrained:
        start = f"fine-tuned from `{base}`" if base else "fine-tuned from a local backbone"
    if facts.labels.numeric:
        return number_sentence(facts.labels, model=f"`{facts.base.architecture}`, {start}")
    several = "any number of" if facts.labels.multi else "one of"
    return (
        f"An image classifier (`{facts.base.architecture}`, {start}) that gives each image"
        f" {several} {facts.labels.size} classes."
    )


def _labels(facts: CardFacts) -> str:
    labels = facts.labels
    if labels.numeric:
        return number_section(labels)
    header = ["Position", "Class"]
    if labels.counts:
        header.append("Training images")
    if facts.label_descriptions:
        header.append("Description")
    rows = []
    for position, name in enumerate(labels.names):
        row = [str(position), _cell(name)]
        if labels.counts:
            row.append(str(labels.counts[position]))
        if facts.label_descriptions:
            row.append(_cell(facts.label_descriptions.get(name, "")))
        rows.append(row)
    return "## Classes\n\n" + _folded(_table(header, rows), len(rows), "all classes")


def _metrics(facts: CardFacts) -> str:
    rows = []
    for result in facts.results:
        for name, value in result.values.items():
            interval = _interval(facts, result, name)
            rows.append(
                [
                    split_title(result.split),
                    metric_name(name),
                    f"{value:.4f}",
                    "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}",
                    str(result.num_examples),
                ]
            )
        rows.append(
            [
                split_title(result.split),
                "Loss",
                f"{result.loss:.4f}",
                "",
                str(result.num_examples),
            ]
        )
    if not rows:
        return "## Results\n\nNot evaluated."
    table = _table(["Split", "Metric", "Value", "95% interval", "Images"], rows)
    left_out = [
        f"{split_title(result.split)}: {result.num_bad} more could not be read and count nowhere."
        for result in facts.results
        if result.num_bad
    ]
    return "\n\n".join(["## Results", table, *left_out])


def _interval(facts: CardFacts, result: EvalResult, name: str) -> tuple[float, float] | None:
    given = facts.intervals.get((result.split, name))
    if given is not None:
        return given
    return metric_interval(name, result.values[name], result.num_examples)


def _per_class(facts: CardFacts) -> str:
    """Give the per-class table of the last split that has one, and the picture."""
    result = next((result for result in reversed(facts.results) if result.per_class), None)
    parts = []
    if result is not None:
        split = split_title(result.split)
        columns = list(dict.fromkeys(key for row in result.per_class.values() for key in row))
        rows = [
            [_cell(name), *(_number(row.get(key)) for key in columns)]
            for name, row in result.per_class.items()
        ]
        header = ["Class", *(metric_name(key) for key in columns)]
        table = _folded(_table(header, rows), len(rows), "all classes")
        parts.append(f"### Each class, {split} split\n\n{table}")
    if facts.picture is not None:
        shown = "Predicted and true numbers" if facts.labels.numeric else "Confusion matrix"
        parts.append(f"![{shown}]({facts.picture})")
    return "\n\n".join(parts)


def _training(facts: CardFacts) -> str:
    spec = facts.input_spec
    rows = [[_cell(name), _cell(text)] for name, text in facts.training.items()]
    rows.append(
        [
            "Input",
            f"{spec.channels} x {spec.height} x {spec.width}, {spec.interpolation},"
            f" centre share {spec.crop_fraction:g}",
        ]
    )
    recipe = (
        "The whole recipe, with the commits of backbone and data, is in `hftune/recipe.yaml`."
        + (f" Train it again: `hftune reproduce {facts.repo_id}`." if facts.repo_id else "")
    )
    curves = f"\n\n![Learning curves]({facts.curves})" if facts.curves else ""
    return "## Training\n\n" + _table(["Setting", "Value"], rows) + f"{curves}\n\n{recipe}"


def _data(facts: CardFacts) -> str:
    data = facts.data
    rows = []
    if data.repo_id is not None:
        rows.append(["Data set", f"`{data.repo_id}`"])
    elif data.path is not None:
        rows.append(["Data set", f"local images, `{Path(data.path).name}`"])
    else:
        rows.append(["Data set", "local images"])
    optional = (
        ("Configuration", data.config),
        ("Revision", data.commit),
        ("Split rule", data.split_rule or None),
        ("Licence", data.license),
    )
    rows += [[name, _cell(text)] for name, text in optional if text is not None]
    counts = (f"{count} {split_title(name)}" for name, count in facts.counts.items())
    rows.append(["Images", ", ".join(counts)])
    return "## Data\n\n" + _table(["Fact", "Value"], rows)


def _limits(facts: CardFacts) -> str:
    lines = list(facts.limits)
    if facts.labels.numeric:
        lines.append(number_limit(facts.labels))
    elif not facts.labels.multi:
        lines.append("Every image gets one of the classes above, also one that shows none of them.")
    if facts.results:
        images = sum(result.num_examples for result in facts.results)
        lines.append(
            f"The results come from {images} images of the data named above and say little about"
            " images from elsewhere."
        )
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


def _lineage(facts: CardFacts) -> str:
    stated, base = facts.license, facts.base
    if stated.id is None:
        lines = ["- Licence: not stated by the author."]
    else:
        name = stated.name or stated.id
        lines = [f"- Licence: {f'[{name}]({stated.link})' if stated.link else name}"]
    if base.pretrained:
        name = base.hub_id or base.repo_id or "a local backbone"
        commit = f" at commit `{base.commit}`" if base.commit else ""
        lines.append(f"- Base: `{name}`{commit}, licence {base.license or 'not stated'}")
    else:
        lines.append(f"- Base: none; `{base.architecture}` with random weights")
    lines.append(f"- Data: licence {facts.data.license or 'not stated'}")
    return "## Licence and lineage\n\n" + "\n".join(lines)


def _versions(facts: CardFacts) -> str:
    if not facts.versions:
        return ""
    return "## Versions\n\n" + _table(["Package", "Version"], _pairs(facts.versions))


def _pairs(values: Mapping[str, str]) -> list[list[str]]:
    return [[_cell(name), _cell(value)] for name, value in values.items()]


def _folded(table: str, num_rows: int, title: str) -> str:
    """Give a long table folded away behind its title."""
    if num_rows <= _LONG_TABLE:
        return table
    return f"<details>\n<summary>{title} ({num_rows})</summary>\n\n{table}\n\n</details>"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if float(value).is_integer() and abs(value) > 1 else f"{value:.4f}"
