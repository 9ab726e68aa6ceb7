"""The sections of one run, from the files that it left."""

from pathlib import Path

from hftune.core import EvalResult
from hftune.hub.card_audit import audit_lines
from hftune.hub.card_text import metric_interval, metric_name, split_title
from hftune.metrics import is_share
from hftune.report.finished import FinishedRun
from hftune.report.page.html import bars, facts, folded, paragraph, picture, section, table
from hftune.train.calibration import in_words
from hftune.train.run_facts import DataRecord, ResultsRecord
from hftune.units import format_duration

# Bars that are shown at once; the others open on request.
_MOST_BARS = 16
# Picture, title of its section, and what it shows for who does not see it.
_PICTURES = (
    ("learning_curves", "Curves", "Loss, metrics, learning rate and speed over the run"),
    ("depth_rates", "Rate at every depth", "The learning rate of each depth, and what was frozen"),
    ("throughput", "Speed", "Images per second, and the share of the time waiting for data"),
    ("confusion", "Confusion", "Which class is taken for which"),
    ("agreement", "Agreement", "Predicted against true numbers"),
    ("per_class", "Classes", "Precision and recall of each class"),
)


def run_sections(run: FinishedRun, key: str) -> list[str]:
    """Give the sections of a run, its pictures drawn already; `key` is its own on the page."""
    pictures = [
        section(
            title, picture(run.folder / "report" / f"{name}.svg", says=says, key=f"{key}-{name}")
        )
        for name, title, says in _PICTURES
    ]
    return [
        section("Run", facts(run_facts(run))),
        section("Results", results_table(run)),
        *pictures,
        _calibration(run, key),
        _data(run.data),
    ]


def run_facts(run: FinishedRun) -> dict[str, str]:
    """Give a run in short texts by name."""
    model, data, results = run.model, run.data, run.results
    recipe, base = run.recipe, model.base
    trained = "; ".join(
        f"steps {phase.start} to {phase.stop}: {phase.label}" for phase in results.phases
    )
    return {
        "Backbone": (base.hub_id or base.repo_id or model.architecture)
        + ("" if base.pretrained else ", from scratch"),
        "Data": data.facts.repo_id or Path(data.facts.path or "local images").name,
        "Number": model.label_names[0] if model.labels.numeric else "",
        "Classes": "" if model.labels.numeric else f"{len(model.label_names):,}",
        "Images": ", ".join(f"{name} {split.count:,}" for name, split in data.splits.items()),
        "Input": f"{model.input_spec.width} x {model.input_spec.height} pixels",
        "Trained": trained,
        "Optimizer": f"{recipe.optim.method.name}, peak rate {recipe.optim.lr:g}",
        "Schedule": recipe.optim.schedule.name,
        "Length": _length(results),
        "Batch size": str(recipe.train.batch_size),
        "Time": format_duration(results.seconds),
        "Speed": f"{results.images_per_second:.1f} images/s",
        "Best weights": f"step {results.best_step}, by {results.best_metric.replace('_', ' ')}",
        "Parameters": f"{results.num_parameters:,}",
    }


def _length(results: ResultsRecord) -> str:
    unit = "epoch" if results.epochs == 1 else "epochs"
    early = ", ended early" if results.ended_early else ""
    return f"{results.steps:,} steps, {results.epochs:.4g} {unit}{early}"


def results_table(run: FinishedRun) -> str:
    """Give the metrics of each split with their 95 % intervals, as the card has them."""
    names = list(dict.fromkeys(n for one in run.results.evaluations for n in one.values))
    head = ["", "Images", "Loss", *(metric_name(name) for name in names)]
    rows = [
        [
            split_title(one.split).capitalize(),
            f"{one.num_examples:,}",
            f"{one.loss:.4f}",
            *(_value(run, one, name) for name in names),
        ]
        for one in run.results.evaluations
    ]
    return table(head, rows, caption="Metrics of the best weights on each split")


def _value(run: FinishedRun, result: EvalResult, name: str) -> str:
    value = result.values.get(name)
    if value is None:
        return ""
    form = ".1%" if is_share(name) else ".4g"
    known = run.intervals.get((result.split, name))
    interval = metric_interval(name, value, result.num_examples)
    if known is not None:
        interval = known.low, known.high
    if interval is None:
        return f"{value:{form}}"
    return f"{value:{form}} ({interval[0]:{form}} to {interval[1]:{form}})"


def _calibration(run: FinishedRun, key: str) -> str:
    found = run.calibration
    if found is None:
        return ""
    drawn = picture(
        run.folder / "report" / "calibration.svg",
        says="Share of right answers against their score, before and after scaling",
        key=f"{key}-calibration",
    )
    return section("Calibration", paragraph(in_words(found)), drawn)


def _data(data: DataRecord) -> str:
    """Give splits, balance of the training classes, and images in several splits."""
    parts = [facts({"Splits": data.facts.split_rule, "Licence": data.facts.license or ""})]
    counts = data.splits["train"].per_class if "train" in data.splits else {}
    if counts:
        most = max(1, *counts.values())
        ranked = sorted(counts.items(), key=lambda pair: -pair[1])
        rows = [(name, number / most, f"{number:,}") for name, number in ranked]
        parts.append("<h3>Training images of each class</h3>")
        parts.append(bars(rows[:_MOST_BARS]))
        if rest := rows[_MOST_BARS:]:
            parts.append(folded(f"{len(rest):,} more classes", bars(rest)))
    if data.facts.audit is not None:
        parts.append("<h3>Images in several splits</h3>")
        parts += [paragraph(line) for line in audit_lines(data.facts.audit)]
    return section("Data", *parts)
