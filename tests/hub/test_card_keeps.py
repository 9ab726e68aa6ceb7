"""A user's words around our block survive every push, whatever an editor made of the file."""

import logging
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftune.hub.card import BEGIN, END, LicenseFacts, read_metadata, write_card
from tests.hub.test_card import FACTS, TEST

CARD = write_card(FACTS, None)
NEXT = replace(FACTS, results=(replace(TEST, values={"accuracy": 0.85}),))
# Lines that can be told from ours, and that are no front matter.
LINES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=30),
    max_size=4,
).map(lambda lines: "\n".join(f"mine: {line}" for line in lines))
TEXTS = {"plain": str, "CRLF": lambda text: text.replace("\n", "\r\n"), "BOM": "\ufeff".__add__}


@pytest.mark.parametrize("edit", TEXTS.values(), ids=TEXTS)
@given(before=LINES, after=LINES)
@settings(max_examples=5, deadline=None)
def test_words_on_both_sides_survive_two_pushes(edit, before, after):
    front, block = CARD.split(BEGIN)
    theirs = edit(f"{front}{before}\n\n{BEGIN}{block}\n{after}\n")
    once = write_card(NEXT, theirs)
    for line in [*before.split("\n"), *after.split("\n")]:
        assert line in once
    assert once.index(BEGIN) >= once.find(before)
    assert once.count(BEGIN) == once.count(END) == 1
    assert "0.8500" in once
    assert (
        read_metadata(once)["model-index"] == read_metadata(write_card(NEXT, None))["model-index"]
    )
    assert write_card(NEXT, once) == once


@pytest.mark.parametrize("lost", [BEGIN, END])
def test_words_survive_a_lost_marker(lost):
    theirs = CARD.replace(lost, "").replace("# cells", "My words.\n\n# cells") + "\nMore words.\n"
    once = write_card(NEXT, theirs)
    assert "My words." in once
    assert "More words." in once
    assert once.index("0.8500") < once.index("My words.")
    assert write_card(NEXT, once) == once


@pytest.mark.parametrize("key", ["license_name", "base_model", "datasets"])
def test_our_keys_win_and_that_is_said(key, caplog):
    theirs = CARD.replace("license_name: house", "license_name: theirs")
    theirs = theirs.replace("base_model: timm/resnet18.a1_in1k", "base_model: me/other")
    theirs = theirs.replace("- Org/Cells-Data", "- Me/Other")
    with caplog.at_level(logging.WARNING):
        once = write_card(FACTS, theirs)
    assert read_metadata(once)[key] == read_metadata(CARD)[key]
    assert f"the card says {key}: " in caplog.text


def test_what_an_earlier_push_wrote_goes_with_its_reason():
    facts = replace(FACTS, license=LicenseFacts(id="mit"), samples=())
    again = read_metadata(write_card(facts, CARD))
    assert again["license"] == "mit"
    assert not {"license_name", "license_link", "widget"} & set(again)


def test_widget_examples_of_the_user_stay():
    mine = {"src": "https://example.org/cell.jpg", "example_title": "Mine"}
    theirs = CARD.replace("widget:\n", f"widget:\n- src: {mine['src']}\n  example_title: Mine\n")
    assert read_metadata(write_card(replace(FACTS, samples=()), theirs))["widget"] == [mine]
