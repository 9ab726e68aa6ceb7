"""Card and record say which weights were published: of one step, or a mean."""

from dataclasses import replace

import pytest

from hftune.errors import RunFolderError
from hftune.export.averaged import weights_published
from hftune.export.record import published_run
from hftune.export.story import training_rows
from hftune.files import write_json
from hftune.recipe import load_recipe
from hftune.report.plots import draw_report
from hftune.train.average_record import (
    AVERAGE_FILE,
    SOUP_FILE,
    AverageRecord,
    SoupDecision,
    SoupIngredient,
    SoupRecord,
)
from hftune.train.run_facts import read_run
from hftune.train.run_folder import check_run_folder

AVERAGE = AverageRecord(
    points=(10, 20, 30), metric="accuracy", value=0.8, best_single=0.7, chosen=True
)
SOUP = SoupRecord(
    method="greedy",
    metric="accuracy",
    ingredients=tuple(
        SoupIngredient(name=name, path=f"/home/me/{name}", digest="0" * 64, step=30, value=0.7)
        for name in ("red", "blue", "green")
    ),
    decisions=(
        SoupDecision(members=("red", "green"), value=0.8, against=0.7, taken=True),
        SoupDecision(members=("red", "green", "blue"), value=0.6, against=0.8, taken=False),
    ),
    members=("red", "green"),
    value=0.8,
)


def test_weights_of_one_step(make_run):
    facts = read_run(make_run())
    assert (facts.average, facts.soup) == (None, None)
    assert weights_published(facts) == "of step 30, best accuracy 0.8000 on validation"


@pytest.mark.parametrize("chosen", [True, False])
def test_a_mean_is_named_only_where_it_was_chosen(make_run, chosen):
    run = make_run()
    record = replace(AVERAGE, chosen=chosen)
    write_json(run / AVERAGE_FILE, record.to_json())
    facts = read_run(run)
    assert facts.average == record
    words = "mean of those after 3 steps, 10 to 30; accuracy 0.8000 on validation"
    assert (weights_published(facts) == words) is chosen
    rows = training_rows(facts, load_recipe(run / "recipe.yaml"))
    assert (rows["Weights published"] == words) is chosen


def test_a_soup_names_its_members_and_no_folder(make_run):
    run = make_run("soup")
    write_json(run / SOUP_FILE, SOUP.to_json())
    facts = read_run(run)
    assert facts.soup == SOUP
    assert weights_published(facts) == (
        "mean of 2 models, chosen from 3 (greedy): red, green; accuracy 0.8000 on validation; "
        "what else is said here is of red"
    )
    published = published_run(facts, load_recipe(run / "recipe.yaml"), {})
    assert [sorted(one) for one in published["soup"]["ingredients"]] == [
        ["digest", "name", "step", "value"]
    ] * 3
    assert "/home/me" not in str(published)


def test_a_soup_of_one_is_that_one(make_run):
    run = make_run("soup")
    write_json(run / SOUP_FILE, replace(SOUP, members=("red",)).to_json())
    assert weights_published(read_run(run)).startswith("of step 30, best accuracy")


def test_a_soup_has_no_curves_and_is_not_trained_further(make_run):
    run = make_run("soup")
    (run / "metrics.jsonl").unlink()
    write_json(run / SOUP_FILE, SOUP.to_json())
    assert sorted(path.name for path in draw_report(run)) == ["confusion.png", "per_class.png"]
    with pytest.raises(RunFolderError, match="a soup of finished runs"):
        check_run_folder(run, load_recipe(run / "recipe.yaml"))


def test_a_damaged_record_is_named(make_run):
    run = make_run()
    write_json(run / SOUP_FILE, {"method": "greedy", "salt": 1})
    with pytest.raises(RunFolderError, match="another version") as caught:
        read_run(run)
    assert caught.value.found == "unknown salt"
