"""What licences ask for by their ids, and what a model's own licence leaves unsaid."""

import pytest

from hftune.export.terms import Terms, compare_terms, terms_of


@pytest.mark.parametrize(
    ("name", "commercial", "changed", "same_licence"),
    [
        ("Apache-2.0", True, True, False),
        ("mit", True, True, False),
        ("bsd-3-clause", True, True, False),
        ("cc0-1.0", True, True, False),
        ("cc-by-4.0", True, True, False),
        ("cc-by-sa-3.0", True, True, True),
        ("cc-by-nc-4.0", False, True, False),
        ("cc-by-nc-sa-4.0", False, True, True),
        ("cc-by-nd-4.0", True, False, False),
        ("cc-by-nc-nd-4.0", False, False, False),
        ("agpl-3.0", True, True, True),
        ("odbl", True, True, True),
    ],
)
def test_terms_by_id(name, commercial, changed, same_licence):
    assert terms_of(name) == Terms(
        commercial=commercial, changed=changed, same_licence=same_licence
    )


@pytest.mark.parametrize("name", [None, "", "other", "unknown", "openrail", "mit, apache-2.0"])
def test_what_is_not_known_stays_unknown(name):
    assert terms_of(name) is None


@pytest.mark.parametrize(
    ("chosen", "origin", "words"),
    [
        ("apache-2.0", "mit", ()),
        ("cc-by-nc-sa-4.0", "cc-by-nc-sa-4.0", ()),
        ("apache-2.0", None, ("states no licence",)),
        ("apache-2.0", "openrail", ("(openrail) are not known",)),
        ("apache-2.0", "cc-by-nc-4.0", ("not be used commercially (cc-by-nc-4.0)",)),
        ("cc-by-nc-4.0", "cc-by-nc-sa-4.0", ("same licence (cc-by-nc-sa-4.0)",)),
        ("mit", "cc-by-nc-nd-4.0", ("commercially", "changed form")),
        (None, "cc-by-nc-4.0", ("the model states no licence",)),
    ],
)
def test_what_the_models_licence_leaves_unsaid(chosen, origin, words):
    found = list(compare_terms(chosen, origin, of="data"))
    assert len(found) == len(words)
    for sentence, part in zip(found, words, strict=True):
        assert part in sentence
