"""The card of a run as a stranger's tools see it: links, pictures, metadata, nothing private."""

import getpass
import re
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from PIL import Image

from hftune.core import LabelSpace
from hftune.export.artifact import build_artifact
from hftune.export.samples import keep_samples
from hftune.hub.card import write_card
from tests.drawn import drawn_splits
from tests.finished import write_finished_run
from tests.hub.test_card import FACTS, TEST


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """The artifact of a run with all that a card can show."""
    run = tmp_path_factory.mktemp("lint") / "cells"
    write_finished_run(run, labels=("dark", "bright"), data_license="cc-by-4.0")
    keep_samples(run, drawn_splits().val)
    (run / "report").mkdir()
    for name in ("confusion", "learning_curves", "calibration"):
        Image.new("RGB", (20, 20)).save(run / "report" / f"{name}.png")
    return build_artifact(run, repo_id="org/cells")


def test_every_link_leads_to_a_file_of_the_repository(artifact):
    text = artifact.card.read_text(encoding="utf-8")
    data = ModelCard(text).data
    links = re.findall(r"\]\(([^)]+)\)", text) + [item["src"] for item in data.widget]
    assert len(links) > 3
    for link in links:
        assert link.startswith("https://") or (artifact.folder / link).is_file()


def test_every_picture_says_what_it_shows(artifact):
    pictures = re.findall(r"!\[([^]]*)\]", artifact.card.read_text(encoding="utf-8"))
    assert pictures
    assert all(pictures)


def test_the_model_index_reads_as_results(artifact):
    found = ModelCard(artifact.card.read_text(encoding="utf-8")).data.eval_results
    assert [(one.dataset_split, one.metric_type, one.metric_value) for one in found] == [
        (split, metric, 0.8) for split in ("validation", "test") for metric in ("accuracy", "f1")
    ]
    assert {one.dataset_type for one in found} == {"org/tiny"}


def test_nothing_private_is_told(artifact):
    text = artifact.card.read_text(encoding="utf-8")
    assert str(artifact.folder.parent) not in text
    assert f"/{getpass.getuser()}/" not in text
    assert not re.search(r"\bhf_\w{20,}", text)


def test_a_thousand_classes_stay_below_100_kb():
    names = tuple(f"a bird with quite a long name, number {number}" for number in range(1000))
    rows = {name: {"count": 50.0, "f1": number / 1000} for number, name in enumerate(names)}
    facts = replace(
        FACTS,
        labels=LabelSpace(names=names, counts=(7,) * 1000),
        results=(replace(TEST, per_class=rows),),
    )
    text = write_card(facts, None)
    assert len(text.encode()) < 100_000
    assert "The 20 classes with the lowest F1" in text
    assert f"| {names[0]} | 50 |" in text
    assert f"| {names[20]} | 50 |" not in text
