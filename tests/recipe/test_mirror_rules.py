"""Where checkpoints may be sent."""

from dataclasses import replace

import pytest

from hftune.recipe.rules import broken_rules
from hftune.recipe.schema import HubRecipe, SaveRecipe
from tests.drawn import tiny_recipe


def findings(save: SaveRecipe, hub: HubRecipe) -> dict[str, str]:
    recipe = replace(tiny_recipe(), save=save, hub=hub)
    return {".".join(map(str, path)): text for path, text in broken_rules(recipe)}


def test_a_branch_of_its_own_in_the_repository_of_the_result_is_let_through():
    assert findings(SaveRecipe(push_every="1 h"), HubRecipe(push_to="org/name")) == {}


def test_checkpoints_need_a_repository():
    assert (
        "no hub.push_to" in findings(SaveRecipe(push_every="1 h"), HubRecipe())["save.push_every"]
    )


@pytest.mark.parametrize(
    ("branch", "revision"), [("main", "main"), ("dev", "dev"), ("main", "dev")]
)
def test_checkpoints_never_go_where_models_are_published(branch, revision):
    save = SaveRecipe(push_every="1 epoch", push_branch=branch)
    found = findings(save, HubRecipe(push_to="org/name", revision=revision))
    assert found.keys() == {"save.push_branch"}


def test_the_branch_does_not_matter_where_nothing_is_sent():
    assert findings(SaveRecipe(push_branch="main"), HubRecipe()) == {}
