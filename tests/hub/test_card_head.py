"""What a card says of a head that took over rows, and of the classes that the base knew."""

from hftune.core import HeadStart, LabelSpace, OldClass, OldClasses
from hftune.hub.card_head import head_line, old_classes_section

LABELS = LabelSpace(names=("cat", "dog", "eel"))
FOUND = OldClasses(
    split="val",
    before=0.9,
    after=0.85,
    num_new=1,
    classes={
        "cat": OldClass(images=6, before=1.0, after=5 / 6, to_new=1 / 6),
        "dog": OldClass(images=4, before=0.75, after=0.875),
    },
)


def test_the_line_names_classes_and_where_they_come_from() -> None:
    start = HeadStart(kept={"cat": "tabby, tabby cat", "dog": "dog"}, num_base=1000)
    assert head_line(start, LABELS) == (
        "the base's rows for 2 of 3 classes (cat from 'tabby, tabby cat', dog); "
        "the other 1 began as the mean of its rows"
    )
    whole = HeadStart(kept={name: name for name in LABELS.names}, num_base=3)
    assert head_line(whole, LABELS) == "the base's rows for 3 of 3 classes (cat, dog, eel)"


def test_the_section_shows_each_class_before_and_after() -> None:
    text = old_classes_section((FOUND, FOUND), LABELS)
    assert "told these 2 classes apart already, to which 1 came." in text
    assert "validation split" in text
    assert "| all | 10 | 0.9000 | 0.8500 |  |" in text
    assert "| cat | 6 | 1.0000 | 0.8333 | 0.1667 |" in text


def test_without_new_classes_nothing_is_taken_for_one() -> None:
    multi = LabelSpace(names=("cat", "dog"), multi=True)
    text = old_classes_section((FOUND,), multi)
    assert "F1 of each class" in text
    assert "| Class | Images | Base | This model |\n" in text


def test_a_base_that_was_not_asked_has_no_section() -> None:
    assert old_classes_section((), LABELS) == ""
