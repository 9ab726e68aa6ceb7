"""A card that somebody else wrote: its text is kept, or one error says what is wrong with it."""

import json

import pytest

from hftune.hub.card import BEGIN, END, keep_user_text, read_metadata
from tests.fuzz.damage import ODD_VALUES, damaged, damaged_json
from tests.fuzz.outcome import error_of
from tests.fuzz.recipes import bomb

OURS = f"---\ntags: [timm]\nlicense: mit\n---\n\n{BEGIN}\n\nWhat it is.\n\n{END}\n"
METADATA = {
    "license": "mit",
    "tags": ["a", "b"],
    "model-index": [{"name": "x", "results": [{"task": {"type": "y"}, "metrics": [1.5]}]}],
    "widget": [{"src": "a.jpg", "output": [{"label": "cat", "score": 0.5}]}],
    "base_model": "org/x",
}
THEIRS = f"---\n{json.dumps(METADATA)}\n---\n# Mine\n\n{BEGIN}\nold\n{END}\n\nMy words \u00e9.\n"

FRONTS = [
    *("", "[1]", "1: x", "? [a]\n: b", "a: &x [*x]", "a: *b", "license: {a: b}", "tags: 7", "\t"),
    *("tags: {a: 1}", "!!python/object/apply:os.system [id]", "a: !!binary //", "a: .nan", ": "),
    *("date: 2020-13-45", "x: 2020-01-01 25:61:61", "a: 1\na: 2", "[" * 5_000, bomb(30), "self: x"),
    *("a: 0x" + "f" * 9_000, " " * 50_000, 'a: "\\ud800"', "model-index: x\nmodel_name: []"),
    *("eval_results: 3", "ignore_metadata_errors: 1", "original_order: 1", "a: 2020-01-01"),
]
CRAFTED = [
    *(f"---\n{front}\n---\nMine.\n" for front in FRONTS),
    *(
        "",
        "---",
        "---\n---\n",
        "---\n---",
        "\ufeff---\na: 1\n---\nx",
        "\0\0",
        "\r\n",
        "---\n" * 3_000,
    ),
    *(
        "<script>alert(1)</script>\n\x1b[2J\x07",
        f"{END}\n{BEGIN}",
        BEGIN + BEGIN + END + END,
        BEGIN,
    ),
    *("-" * 100_000, "---\n" + "a: b\n" * 9_000, END, BEGIN, BEGIN * 9_000),
]


def keep(theirs: str) -> None:
    """Join the cards; what came out can be written, and reads as metadata again."""
    card = keep_user_text(OURS, theirs)
    card.encode("utf-8")
    assert card.count("What it is.") == 1
    read_metadata(card)
    assert keep_user_text(OURS, card) == card


@pytest.mark.parametrize("theirs", CRAFTED, ids=lambda text: repr(text[:30]))
def test_crafted_cards(theirs: str) -> None:
    error_of(lambda: keep(theirs))


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: repr(value)[:24])
def test_odd_metadata(value: object) -> None:
    for key in ("license", "tags", "model-index", "widget", "datasets", "metrics", "x"):
        error_of(lambda key=key: keep(f"---\n{json.dumps({key: value})}\n---\nMine.\n"))


def check_seeds(seeds: range) -> None:
    for seed in seeds:
        content = damaged(THEIRS.encode(), seed)
        error_of(lambda content=content: keep(content.decode("utf-8", errors="replace")))
        odd = f"---\n{json.dumps(damaged_json(METADATA, seed))}\n---\nMine.\n"
        error_of(lambda odd=odd: keep(odd))


def test_damaged_cards() -> None:
    check_seeds(range(30))


@pytest.mark.chaos
def test_200_damaged_cards_twice() -> None:
    check_seeds(range(100, 300))
