"""Properties of merging, writing and reading that hold for any values."""

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hftune.recipe.check import check
from hftune.recipe.origins import leaves, origins_of
from hftune.recipe.read import Node, plain, read_value
from hftune.recipe.resolve import Merged, merge, spell_components
from hftune.recipe.schema import Component, DataRecipe, ModelRecipe, Recipe
from hftune.recipe.show import digest, to_yaml

KEYS = st.sampled_from(["a", "b", "c", "d"])
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text("xy", max_size=2)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
BLOCKS = st.dictionaries(KEYS, VALUES, max_size=4)

# Layers that agree on what is a block: p and q are, a to d are not.
AGREED = st.recursive(
    st.dictionaries(KEYS, SCALARS | st.lists(SCALARS, max_size=2), max_size=3),
    lambda inner: st.dictionaries(st.sampled_from(["p", "q"]), inner, max_size=2),
    max_leaves=4,
)

TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=8)
TRICKY = st.sampled_from(
    [
        "no",
        "on",
        "1e-4",
        "12:30",
        "null",
        "~",
        "",
        " x ",
        "0x1f",
        "1_000",
        "2026-09-01",
        "# x",
        "a: b",
    ]
)
SIGNS = st.sampled_from(
    ["- a", "&a", "*a", "!t", "%x", "@x", "'", '"', "\\", ".5", "+1", "<<", "="]
)
NUMBERS = st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False)
OPTIONS = st.dictionaries(
    (TEXTS | TRICKY | SIGNS).filter(lambda key: key != "name"),
    st.recursive(
        st.none() | st.booleans() | NUMBERS | TEXTS | TRICKY | SIGNS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


def tree(value: Any, place: str) -> Node:
    """Give plain values as a tree that came from one place."""
    if isinstance(value, dict):
        children = {key: tree(child, place) for key, child in value.items()}
        return Node(value=children, place=place)
    if isinstance(value, list):
        return Node(value=tuple(tree(item, place) for item in value), place=place)
    return Node(value=value, place=place)


@settings(max_examples=40, deadline=None)
@given(AGREED, AGREED, AGREED)
def test_merging_is_associative_where_layers_agree_on_what_is_a_block(
    a: Any, b: Any, c: Any
) -> None:
    """So bases may be merged beforehand. A null or a new `name` in between forgets on purpose."""
    one, two, three = tree(a, "1"), tree(b, "2"), tree(c, "3")
    assert merge(merge(one, two), three) == merge(one, merge(two, three))


@settings(max_examples=40, deadline=None)
@given(BLOCKS)
def test_merging_with_nothing_or_itself_changes_no_value(a: Any) -> None:
    nothing = tree({}, "0")
    assert plain(merge(tree(a, "1"), nothing)) == a
    assert plain(merge(nothing, tree(a, "1"))) == a
    assert plain(merge(tree(a, "1"), tree(a, "2"))) == a


@settings(max_examples=40, deadline=None)
@given(BLOCKS, BLOCKS)
def test_the_later_layer_wins_wherever_it_says_something(a: Any, b: Any) -> None:
    merged = dict(leaves(plain(merge(tree(a, "1"), tree(b, "2")))))
    for path, value in leaves(b):
        if value not in ({}, []):
            assert merged[path] == value


@settings(max_examples=40, deadline=None)
@given(BLOCKS, BLOCKS)
def test_every_value_has_the_origin_of_the_layer_that_gave_it(a: Any, b: Any) -> None:
    root = merge(tree(a, "1"), tree(b, "2"))
    values = plain(root)
    assert {*origins_of(values, root).values()} <= {"1", "2"}
    only_new = merge(tree({}, "1"), tree(b, "2"))
    assert {*origins_of(b, only_new).values()} == {"2"}


@settings(max_examples=40, deadline=None)
@given(OPTIONS, TEXTS | TRICKY | SIGNS, st.floats(min_value=1e-12, max_value=1e12))
def test_any_recipe_reads_back_from_its_yaml(options: Any, text: str, lr: float) -> None:
    recipe = Recipe(
        run="x",
        model=ModelRecipe(repo=text or None, architecture="a", options=options),
        data=DataRecipe(source=Component(name="table", options=options)),
    )
    root = spell_components(read_value(to_yaml(recipe), "all"), Path())
    again = check(Merged(root=root, source="x", files=()))
    assert again == recipe
    assert digest(again) == digest(recipe)
