"""When two runs count as the same; whole reproductions are in tests/runs/test_whole_job.py."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hftune.core import TeacherFacts
from hftune.errors import PublishError
from hftune.export.artifact import build_artifact
from hftune.recipe.schema import (
    Component,
    DataRecipe,
    DistillRecipe,
    ModelRecipe,
    OptimRecipe,
    Recipe,
)
from hftune.reproduce import (
    Metric,
    Reproduction,
    _metrics,
    _others,
    _weights,
    allowed_difference,
    reproduce,
)
from hftune.train.pins import Pins, pin
from hftune.train.run_facts import read_run
from tests.finished import write_finished_run


def test_a_share_may_differ_by_two_standard_errors_and_anything_else_by_a_twentieth() -> None:
    # sqrt(0.9 * 0.1 / 100) = 0.03; two such errors of a difference: 2 * sqrt(2) * 0.03
    assert allowed_difference(0.9, 100) == pytest.approx(0.0848528)
    assert allowed_difference(1.0, 50) == 0.02
    assert allowed_difference(40.0, 100) == 2.0


@pytest.mark.parametrize(("now", "agrees"), [(0.85, True), (0.81, False), (math.nan, False)])
def test_a_metric_agrees_within_what_is_allowed(now: float, agrees: bool) -> None:
    one = Metric(split="val", name="accuracy", published=0.9, now=now, allowed=0.0848)
    assert one.agrees is agrees


def test_metrics_are_those_that_both_have(tmp_path: Path) -> None:
    results = read_run(write_finished_run(tmp_path / "run")).results
    published = results.to_json()["evaluations"]
    published[0]["values"]["of_another_version"] = 0.5
    found = list(_metrics(published, results))
    assert found
    assert all(one.published == one.now and one.agrees for one in found)
    assert "of_another_version" not in {one.name for one in found}
    assert {one.split for one in found} == {one.split for one in results.evaluations}


def test_weights_are_compared_by_their_bits() -> None:
    published = {"a": torch.tensor([0.0, 1.0]), "b": torch.tensor(3), "c": torch.ones(2, 2)}
    again = {"a": torch.tensor([-0.0, 1.0]), "b": torch.tensor(3), "c": torch.ones(2, 2) + 0.5}
    assert _weights(published, published) == (3, 3, 0.0)
    assert _weights(published, again) == (3, 1, 0.5)
    assert _weights(published, {"a": published["a"]}) == (3, 1, math.inf)


def test_what_may_explain_a_difference_is_named() -> None:
    before = {"device": "cuda", "threads": 4, "versions": {"torch": "2.11.0", "timm": "1.0.31"}}
    now = {"device": "cpu", "threads": 4, "versions": {"torch": "2.15.0", "timm": "1.0.31"}}
    assert list(_others(before, now)) == ["device: cpu, was cuda", "torch 2.15.0, was 2.11.0"]


def test_equal_weights_agree_whatever_the_metrics_say(tmp_path: Path) -> None:
    other = Metric(split="val", name="accuracy", published=0.9, now=0.1, allowed=0.01)
    same = Reproduction(
        run=tmp_path, commit=None, metrics=(other,), tensors=2, equal=2, gap=0.0, others=()
    )
    assert (same.is_exact, same.agrees) == (True, True)
    assert json.loads(json.dumps(same.to_json()))["metrics"][0]["agrees"] is False


def test_a_repository_without_recipe_or_record_is_refused(tmp_path: Path) -> None:
    artifact = build_artifact(write_finished_run(tmp_path / "run"))
    (artifact.folder / "hftune" / "run.json").unlink()
    with pytest.raises(PublishError, match="does not say how it was trained"):
        reproduce(str(artifact.folder), output=tmp_path / "again")


def test_a_soup_is_refused(tmp_path: Path) -> None:
    artifact = build_artifact(write_finished_run(tmp_path / "run"))
    path = artifact.folder / "hftune" / "run.json"
    record = json.loads(path.read_text()) | {"soup": {"members": ["a", "b"]}}
    path.write_text(json.dumps(record))
    with pytest.raises(PublishError, match="a soup is made of several runs"):
        reproduce(str(artifact.folder), output=tmp_path / "again")


def test_the_published_recipe_names_the_commits_that_the_run_took(tmp_path: Path) -> None:
    commit, other, third = "0" * 40, "1" * 40, "2" * 40
    source = Component(name="hub_dataset", options={"repo": "me/data@main", "label": "kind"})
    recipe = Recipe(
        run="r", model=ModelRecipe(repo="me/base@v1"), data=DataRecipe(source=source),
        optim=OptimRecipe(lr=1e-3),
    )  # fmt: skip
    taught = replace(recipe, distill=DistillRecipe(teacher="me/large@v2"))
    teacher = TeacherFacts(repo_id="me/large", commit=third)
    pinned = pin(taught, Pins(model=commit, data=other, teacher=teacher))
    assert (pinned.model.repo, pinned.model.revision) == ("me/base", commit)
    assert pinned.data.source.options == {"repo": "me/data", "revision": other, "label": "kind"}
    assert pinned.distill.teacher == f"me/large@{third}"
    assert pin(recipe, Pins(teacher=TeacherFacts(digest="of a folder"))) == recipe
