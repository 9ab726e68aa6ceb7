"""What the card tells about a run, gathered from the files that the run left."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hftune.export.averaged import weights_published
from hftune.export.frozen import frozen_facts
from hftune.export.license import license_facts
from hftune.export.pace import share_waiting
from hftune.export.terms import terms_of
from hftune.hub.card_facts import CardFacts, WidgetSample
from hftune.hub.card_head import head_line
from hftune.problems import PROBLEMS
from hftune.recipe.schema import Recipe
from hftune.recipe.words import component_text, extras, rates_text
from hftune.train.calibration import calibration_of, in_words
from hftune.train.intervals import Intervals
from hftune.train.run_facts import ResultsRecord, RunFacts, read_plan
from hftune.units import format_duration


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the card will stand: a repository and the branch there; None while that is open."""

    repo_id: str | None
    revision: str


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Where the card's pictures lie in the repository; None for those that there are not.

    `confusion` shows what is taken for what, with numbers the predicted against the true ones.
    """

    confusion: str | None = None
    curves: str | None = None
    calibration: str | None = None


def card_facts(
    facts: RunFacts,
    recipe: Recipe,
    *,
    target: Target,
    intervals: Intervals,
    samples: Sequence[WidgetSample],
    pictures: Pictures,
) -> CardFacts:
    """Give what a run's card is written from."""
    calibration = calibration_of(facts.folder)
    return CardFacts(
        run=recipe.run,
        repo_id=target.repo_id,
        revision=target.revision,
        problem=facts.model.problem,
        labels=facts.labels,
        input_spec=facts.model.input_spec,
        base=facts.model.base,
        data=facts.data.facts,
        teacher=facts.pins.teacher,
        license=license_facts(facts, recipe),
        counts={name: split.count for name, split in facts.data.splits.items()},
        results=facts.results.evaluations,
        training=training_rows(facts, recipe),
        versions=versions(facts.environment),
        samples=tuple(samples),
        intervals={key: (one.low, one.high) for key, one in intervals.items()},
        picture=pictures.confusion,
        curves=pictures.curves,
        calibration=None if calibration is None else in_words(calibration),
        calibration_picture=pictures.calibration,
        tags=PROBLEMS[facts.model.problem].hub_tags,
        frozen=frozen_facts(facts),
        old_classes=facts.results.old_classes,
        limits=tuple(_limits(facts)),
    )


def training_rows(facts: RunFacts, recipe: Recipe) -> dict[str, str]:
    """Give what was done in training, a short text per row."""
    optim, results = recipe.optim, facts.results
    settled = read_plan(facts.folder)  # nothing of a soup, which has none
    rate = settled.get("peak_lr", optim.lr)
    rows = {
        "Layers trained": _layers(results),
        "Length": f"{results.steps:,} steps, {_epochs(results.epochs)}",
        "Batch size": str(recipe.train.batch_size),
        "Optimizer": f"{component_text(optim.method, public=True)}, peak rate {rate:g}, "
        f"weight decay {optim.weight_decay:g}",
        "Schedule": component_text(optim.schedule, public=True),
    }
    if facts.model.head is not None:
        rows["Head at first"] = head_line(facts.model.head, facts.labels)
    if optim.layer_decay is not None and optim.layer_decay < 1:
        rows["Rate per depth"] = f"times {optim.layer_decay:g} for each layer from the head down"
    if optim.rates:
        rows["Rates by part"] = rates_text(optim)
    if recipe.loss is not None:
        rows["Loss"] = component_text(recipe.loss, public=True)
    for name, words in extras(recipe, public=True):
        rows[name.capitalize()] = words
    rows["Weights published"] = weights_published(facts)
    rows["Seed"] = str(recipe.train.seed)
    rows["Precision"] = str(settled.get("precision", recipe.train.precision))
    rows["Machine"] = _machine(facts.environment)
    rows["Time"] = f"{format_duration(results.seconds)}{_pace(facts)}"
    return rows


def _epochs(number: float) -> str:
    return "1 epoch" if number == 1 else f"{round(number, 2):g} epochs"


def _pace(facts: RunFacts) -> str:
    waiting = share_waiting(facts.folder)
    shown = "" if waiting is None else f"; {waiting:.1%} of it waiting for data"
    return f", {facts.results.images_per_second:,.3g} images per second{shown}"


def versions(environment: Mapping[str, Any]) -> dict[str, str]:
    """Give the versions of what was installed, Python first."""
    found = environment.get("versions", {})
    named = {"Python": environment["python"]} if "python" in environment else {}
    return named | {name: str(text) for name, text in found.items() if text is not None}


def _layers(results: ResultsRecord) -> str:
    phases = [
        f"steps {phase.start} to {phase.stop}: {phase.label} ({phase.num_trainable:,} parameters)"
        for phase in results.phases
    ]
    return "; ".join(phases) + f", of {results.num_parameters:,} in all"


def _machine(environment: Mapping[str, Any]) -> str:
    processes = environment.get("processes", 1)
    name = environment.get("device_name", environment.get("device", "not recorded"))
    return f"{name}, 1 process" if processes == 1 else f"{processes} processes, each on {name}"


def _limits(facts: RunFacts) -> Iterator[str]:
    results, stated = facts.results, facts.data.facts.license
    if results.ended_early:
        yield "Training ended before its planned length, because validation no longer improved."
    if results.of("test") is None:
        yield (
            "There was no test split: the results are those of the validation split, which also "
            "picked the weights, and so are too good."
        )
    terms = terms_of(stated)
    if terms is not None and not terms.commercial:
        yield f"The images it learned from may not be used commercially ({stated})."
