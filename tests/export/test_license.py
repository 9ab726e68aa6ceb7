"""A licence with a text of its own: published as LICENSE, or refused before anything is sent."""

import json
from dataclasses import replace

import pytest

from hftune.core import BaseFacts
from hftune.errors import PublishError
from hftune.export.artifact import build_artifact, open_artifact
from hftune.export.license import check_terms
from hftune.hub.base_terms import read_other_terms
from hftune.hub.card import read_metadata
from hftune.recipe.schema import HubRecipe

BASE = BaseFacts(architecture="test_resnet", hub_id="org/base", license="other")


def with_base(run, **changes):
    model = json.loads((run / "model.json").read_text())
    model["base"].update(changes)
    (run / "model.json").write_text(json.dumps(model))
    return run


def with_hub(run, **settings):
    recipe = json.loads((run / "recipe.yaml").read_text())
    (run / "recipe.yaml").write_text(json.dumps(recipe | {"hub": settings}))
    return run


def test_the_text_of_the_base_goes_along(make_run):
    run = with_base(make_run(), license="other", license_name="house", license_text="Be kind.\n")
    artifact = build_artifact(run)
    assert (artifact.folder / "LICENSE").read_text() == "Be kind.\n"
    stated = read_metadata(artifact.card.read_text())
    assert [stated[key] for key in ("license", "license_name", "license_link")] == [
        *("other", "house", "LICENSE")
    ]
    (artifact.folder / "LICENSE").write_text("Do as you like.\n")
    with pytest.raises(PublishError, match="read as it is meant") as caught:
        open_artifact(artifact.folder)
    assert "LICENSE is not the text of the run's licence" in caught.value.found


def test_a_text_of_ones_own(make_run, tmp_path):
    (tmp_path / "terms.txt").write_text("Mine.\n")
    run = with_hub(
        make_run(),
        license="other",
        license_name="my-terms",
        license_file=str(tmp_path / "terms.txt"),
    )
    artifact = build_artifact(run)
    assert (artifact.folder / "LICENSE").read_text() == "Mine.\n"
    assert read_metadata(artifact.card.read_text())["license_name"] == "my-terms"
    assert str(tmp_path) not in artifact.recipe.read_text()


def test_a_text_that_is_not_there_is_named(make_run):
    run = with_hub(make_run(), license="other", license_file="nowhere.txt")
    with pytest.raises(PublishError, match="cannot be read") as caught:
        build_artifact(run)
    assert "nowhere.txt" in caught.value.found


@pytest.mark.parametrize(
    ("base", "hub", "message"),
    [
        (BASE, HubRecipe(), "its text is nowhere"),
        (BASE, HubRecipe(license="other"), "its text is nowhere"),
        (replace(BASE, license_text="x"), HubRecipe(license="other"), "its text is nowhere"),
        (replace(BASE, license="cc-by-nc-nd-4.0"), HubRecipe(), "changed form"),
    ],
)
def test_terms_that_cannot_be_published_are_refused(base, hub, message):
    with pytest.raises(PublishError, match=message):
        check_terms(hub, base)


@pytest.mark.parametrize(
    ("base", "hub"),
    [
        (replace(BASE, license_text="x"), HubRecipe()),
        (replace(BASE, license_link="https://example.org/terms"), HubRecipe()),
        (BASE, HubRecipe(license="mit")),
        (replace(BASE, license="cc-by-nd-4.0"), HubRecipe(license="cc-by-nd-4.0")),
        (replace(BASE, license=None), HubRecipe()),
    ],
)
def test_terms_that_can_be_read_pass(base, hub):
    check_terms(hub, base)


def test_name_link_and_text_of_a_base(tmp_path):
    assert read_other_terms(tmp_path).text is None
    front = "license: other\nlicense_name: house\nlicense_link: https://example.org/t"
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n")
    (tmp_path / "LICENSE.md").write_text("Be kind.")
    found = read_other_terms(tmp_path)
    assert (found.name, found.link) == ("house", "https://example.org/t")
    assert found.text == "Be kind.\n"


def test_the_card_and_the_record_say_what_the_data_asks_for(make_run):
    artifact = build_artifact(make_run(data_license="cc-by-nc-4.0"))
    sentence = "The data may not be used commercially (cc-by-nc-4.0)"
    assert sentence in artifact.card.read_text()
    assert sentence in json.loads(artifact.results.read_text())["license"]["notes"][0]
