"""The published record of a run: its facts, without anything about this machine."""

from dataclasses import asdict
from typing import Any

from hftune import __version__
from hftune.export.license import license_facts, license_record, license_text
from hftune.export.pace import share_waiting
from hftune.recipe.schema import Recipe
from hftune.recipe.show import digest
from hftune.train.average_record import SoupRecord
from hftune.train.intervals import Intervals
from hftune.train.run_facts import RunFacts

# What of environment.json may be told: nothing that names a user, a host or a folder.
_TOLD = ("python", "system", "versions", "device", "device_name", "processes", "threads")


def published_run(facts: RunFacts, recipe: Recipe, intervals: Intervals) -> dict[str, Any]:
    """Give origin, data, results, timing and environment of a run as JSON values."""
    base, data, results = facts.model.base, facts.data, facts.results
    origin = data.facts
    return {
        "run": recipe.run,
        "hftune": __version__,
        "recipe_digest": digest(recipe),
        "seed": recipe.train.seed,
        "split_seed": recipe.data.split_seed,
        "license": license_record(
            license_facts(facts, recipe), text=license_text(recipe.hub, base)
        ),
        "base": {
            "architecture": base.architecture,
            "repo_id": base.hub_id or base.repo_id,
            "commit": base.commit,
            "license": base.license,
            "pretrained": base.pretrained,
            "weights": dict(facts.model.weights_report),
        },
        "teacher": None if facts.pins.teacher is None else asdict(facts.pins.teacher),
        "data": {
            "repo_id": origin.repo_id,
            "commit": origin.commit,
            "config": origin.config,
            "license": origin.license,
            "split_rule": origin.split_rule,
            "splits": {
                name: {"count": split.count, "digest": split.digest}
                for name, split in data.splits.items()
            },
        },
        "results": results.to_json(),
        "intervals": _by_split(intervals),
        "waiting": share_waiting(facts.folder),
        "average": None if facts.average is None else facts.average.to_json(),
        "soup": None if facts.soup is None else _without_paths(facts.soup),
        "environment": {key: facts.environment[key] for key in _TOLD if key in facts.environment},
    }


def _by_split(intervals: Intervals) -> dict[str, dict[str, list[float]]]:
    """Give lower and upper end by split and metric."""
    found: dict[str, dict[str, list[float]]] = {}
    for (split, name), interval in intervals.items():
        found.setdefault(split, {})[name] = [interval.low, interval.high]
    return found


def _without_paths(soup: SoupRecord) -> dict[str, Any]:
    """Give how a soup was made, without where its ingredients lie on this machine."""
    values = soup.to_json()
    for ingredient in values["ingredients"]:
        del ingredient["path"]
    return values
