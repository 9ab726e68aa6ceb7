"""Which row of a head stands for a class, by its own names or by ImageNet's."""

import pytest

from hftune.model.class_names import base_rows, class_names, synsets
from hftune.model.hub_config import HubConfig


def imagenet(count: int = 1000, *, tag: str | None = "a1_in1k", hub_id: str | None = None):
    return HubConfig(
        architecture="test_resnet",
        pretrained_cfg={},
        model_args={},
        num_classes=count,
        tag=tag,
        hub_id=hub_id,
    )


def test_imagenets_names_need_more_than_its_class_count() -> None:
    names = class_names(imagenet())
    assert len(names) == len(set(names)) == 1000
    assert names[0].startswith("tench")
    assert class_names(imagenet(tag=None, hub_id="timm/resnet18.a1_in1k")) == names
    assert class_names(imagenet(tag=None, hub_id="me/birds-1000")) == ()
    assert class_names(imagenet(37)) == ()


def test_the_same_classes_are_found_whatever_they_are_called() -> None:
    assert base_rows(("a", "b", "c"), ("c", "a", "b")) == (2, 0, 1)
    assert base_rows(("0", "1"), ("1", "0")) == (1, 0)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("golden retriever", 1),
        ("Golden_Retriever", 1),
        (" golden-retriever ", 1),
        ("puma", 2),
        ("Felis concolor", 2),
        ("Cougar, Puma, felis concolor", 2),
        ("panther", None),  # of two rows
        ("cat", None),
        ("3", None),
        ("class_3", None),
        ("", None),
    ],
)
def test_a_class_is_known_by_its_names(name: str, row: int | None) -> None:
    base = ("3", "golden retriever", "cougar, puma, Felis concolor, panther",
                  "leopard, panther", "class 3")  # fmt: skip
    assert base_rows(base, (name, "something else")) == (row, None)


def test_a_whole_name_comes_before_a_part_of_another() -> None:
    assert base_rows(("projectile, missile", "missile"), ("Missile", "x")) == (1, None)


def test_a_name_that_two_rows_have_is_neither() -> None:
    assert base_rows(("a", "a", "b"), ("a", "b")) == (None, 2)


def test_two_classes_may_be_one_of_the_base() -> None:
    assert base_rows(("tabby, tabby cat", "tench"), ("tabby", "tabby cat")) == (0, 0)


def test_imagenet_is_known_by_words_and_by_synsets() -> None:
    names = ("tabby_cat", "n02123045", "Egyptian Mau", "crane", "n02012849")
    found = base_rows(class_names(imagenet()), names, synsets=synsets(imagenet()))
    assert found == (281, 281, None, None, 134)
    assert synsets(imagenet(37)) == ()


def test_a_head_without_names_has_no_row_for_anybody() -> None:
    assert base_rows((), ("tabby", "tench")) == (None, None)
