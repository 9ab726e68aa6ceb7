"""A published repository -> its run built again from the Hub alone, and whether it is the same."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hftune.errors import PublishError
from hftune.export.artifact import RECIPE
from hftune.export.checks import RECORD, WEIGHTS
from hftune.finetune import finetune
from hftune.hub.pull import pull
from hftune.hub.ref import parse_ref
from hftune.model.weights import read_weights
from hftune.recipe import load_recipe
from hftune.recipe.schema import Recipe
from hftune.train.json_record import read_mapping
from hftune.train.receipt import hash_tensors
from hftune.train.run_facts import ResultsRecord
from hftune.train.run_folder import describe_environment
from hftune.train.world import join_world

# What decides the last bits of a weight, besides the recipe: `environment` in run.json.
_DECISIVE = ("device", "device_name", "processes", "threads", "system")
_LIBRARIES = ("hftune", "torch", "torchvision", "timm", "accelerate")
# Twice the standard error of the difference of two shares.
_ERRORS = 2 * math.sqrt(2)
# Metrics that are no share of the images may differ by so much of themselves.
_RELATIVE = 0.05


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric of a split as published and now; `allowed` is how far the two may be apart."""

    split: str
    name: str
    published: float
    now: float
    allowed: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is within what chance gives on so many images."""
        return math.isclose(self.published, self.now, rel_tol=0, abs_tol=self.allowed)


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """How a run that was done again compares with what is published.

    `tensors` are all of the model's, `equal` those of the same bits, `gap` the largest difference
    of a weight. `others` are facts of the environment that are not the same, which may explain a
    difference.
    """

    run: Path
    commit: str | None
    metrics: tuple[Metric, ...]
    tensors: int
    equal: int
    gap: float
    others: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        """Whether every weight has the same bits."""
        return self.equal == self.tensors

    @property
    def agrees(self) -> bool:
        """Whether the weights are the same, or every metric agrees."""
        return self.is_exact or all(metric.agrees for metric in self.metrics)

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON values."""
        return asdict(self) | {
            "run": str(self.run),
            "is_exact": self.is_exact,
            "agrees": self.agrees,
            "metrics": [asdict(one) | {"agrees": one.agrees} for one in self.metrics],
        }


def reproduce(
    repo: str,
    *,
    output: Path | None = None,
    overrides: Sequence[str] = (),
    trust_code: bool = False,
) -> Reproduction:
    """Train what `repo` was trained by, again, and compare weights and metrics.

    The recipe is that of the repository, with every commit pinned; nothing is pushed. `overrides`
    name data or weights that are not on the Hub. Called again after a stop, it goes on. Called by
    every rank. Raises PublishError for a repository that does not hold its recipe and record, and
    what `finetune` raises.
    """
    source = pull(parse_ref(repo))
    if source.folder is None:
        raise AssertionError("a pulled repository has a folder")
    record = _record(source.folder, repo)
    recipe = _unpublished(
        load_recipe(source.folder / RECIPE, list(overrides), trust_code=trust_code)
    )
    folder = output or Path("runs") / f"{recipe.run}-again"
    finished = finetune(recipe, output=folder)
    again = read_weights(folder / "best" / WEIGHTS)
    tensors, equal, gap = _weights(read_weights(source.folder / WEIGHTS), again)
    return Reproduction(
        run=folder,
        commit=source.commit,
        metrics=tuple(_metrics(record["results"]["evaluations"], finished.results)),
        tensors=tensors,
        equal=equal,
        gap=gap,
        others=tuple(_others(record.get("environment", {}), describe_environment(join_world()))),
    )


def _record(folder: Path, repo: str) -> Mapping[str, Any]:
    missing = [name for name in (RECIPE, RECORD) if not (folder / name).is_file()]
    if missing:
        raise PublishError(
            "this repository does not say how it was trained",
            found=f"no {' and no '.join(missing)}",
            where=repo,
            remedy="hftune publishes both; ask its author",
        )
    record = read_mapping(folder / RECORD)
    if record.get("soup") is not None:
        raise PublishError(
            "a soup is made of several runs, which are not all published",
            where=repo,
            remedy="reproduce its ingredients, then: hftune soup",
        )
    return record


def _unpublished(recipe: Recipe) -> Recipe:
    """Give the recipe without what it sends to the Hub."""
    hub = replace(recipe.hub, push_to=None)
    return replace(recipe, hub=hub, save=replace(recipe.save, push_every=None))


def _weights(
    published: Mapping[str, torch.Tensor], again: Mapping[str, torch.Tensor]
) -> tuple[int, int, float]:
    """Count tensors and those of equal bits; give the largest difference of a weight."""
    ours, theirs = hash_tensors(again, again), hash_tensors(published, published)
    equal, gap = 0, 0.0
    for name, tensor in published.items():
        other = again.get(name)
        if theirs[name] == ours.get(name):
            equal += 1
        elif other is None or other.shape != tensor.shape or other.dtype != tensor.dtype:
            gap = math.inf
        else:
            gap = max(gap, float((tensor.double() - other.double()).abs().max()))
    return len(published.keys() | again.keys()), equal, gap


def _metrics(published: Sequence[Mapping[str, Any]], results: ResultsRecord) -> Iterator[Metric]:
    for one in published:
        now = results.of(str(one["split"]))
        if now is None:
            continue
        images = max(1, int(one["num_examples"]))
        for name, value in one["values"].items():
            if name in now.values:
                yield Metric(
                    split=now.split,
                    name=name,
                    published=float(value),
                    now=now.values[name],
                    allowed=allowed_difference(float(value), images),
                )


def allowed_difference(value: float, images: int) -> float:
    """Give how far a metric on so many images may differ by chance.

    For a share, two standard errors of the difference of two shares, the variance being that of
    a binomial (Wilson's is the same to the first order), one image at least; otherwise 5 %.
    """
    if 0 <= value <= 1:
        return max(_ERRORS * math.sqrt(value * (1 - value) / images), 1 / images)
    return _RELATIVE * abs(value)


def _others(published: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Name what of an environment is not what it was."""
    for name in _DECISIVE:
        if published.get(name) != now.get(name):
            yield f"{name.replace('_', ' ')}: {now.get(name)}, was {published.get(name)}"
    before, after = published.get("versions", {}), now.get("versions", {})
    for name in _LIBRARIES:
        if before.get(name) != after.get(name):
            yield f"{name} {after.get(name)}, was {before.get(name)}"
