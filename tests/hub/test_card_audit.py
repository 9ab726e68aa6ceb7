from dataclasses import replace

import pytest

from hftune.core import AuditFacts, LeakFacts
from hftune.hub.card import write_card
from hftune.hub.card_audit import audit_section
from tests.hub.test_card import FACTS

CLEAN = AuditFacts(
    near=True,
    images=1771,
    repeated=0,
    conflicting=0,
    leaks=(LeakFacts(split="val", images=197, exact=0),),
)


def test_nothing_found_is_said_plainly() -> None:
    assert audit_section(CLEAN) == (
        "## Images in several splits\n\n"
        "- Of 197 validation images none is in training as well.\n"
        "- Near duplicates, such as resized or newly compressed images, were counted."
    )


def test_what_was_found_is_said_for_each_split() -> None:
    leaks = (
        LeakFacts(split="val", images=197, exact=1),
        LeakFacts(split="test", images=656, exact=1, near=2),
    )
    audit = AuditFacts(near=True, images=1771, repeated=12, conflicting=2, leaks=leaks)
    assert audit_section(audit) == (
        "## Images in several splits\n\n"
        "- Of 197 validation images 1 (0.5%) is in training as well: 1 with the same pixels,"
        " 0 nearly the same.\n"
        "- Of 656 test images 3 (0.5%) are in training as well: 1 with the same pixels,"
        " 2 nearly the same.\n"
        "- Results on images that training has seen say little about new ones.\n"
        "- Near duplicates, such as resized or newly compressed images, were counted.\n"
        "- Of 1,771 training images 12 have the pixels of an earlier one, 2 of them under another"
        " label."
    )


@pytest.mark.parametrize("exact", [0, 4])
def test_near_duplicates_are_not_claimed_where_nobody_looked(exact: int) -> None:
    leaks = (LeakFacts(split="test", images=8, exact=exact),)
    text = audit_section(AuditFacts(near=False, images=9, repeated=0, conflicting=0, leaks=leaks))
    assert "near duplicates were not counted" in text
    assert "nearly the same" not in text


def test_card_has_the_section_where_something_was_compared() -> None:
    audited = replace(FACTS, data=replace(FACTS.data, audit=CLEAN))
    assert f"\n\n{audit_section(CLEAN)}\n\n## Limits" in write_card(audited, None)
    assert "in several splits" not in write_card(FACTS, None)
