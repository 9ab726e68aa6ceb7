"""Each selector picks what it names, and says what exists when it picks nothing."""

import pytest
import timm
from hypothesis import given, settings
from hypothesis import strategies as st

from hftune.core import LayerMap
from hftune.errors import ModelError
from hftune.model.layer_map import map_layers
from hftune.model.select import select

Known = tuple[LayerMap, tuple[str, ...]]


@pytest.fixture(scope="module")
def resnet() -> Known:
    module = timm.create_model("resnet18", num_classes=7)
    return map_layers(module), tuple(name for name, _ in module.named_parameters())


@pytest.fixture(scope="module")
def vit() -> Known:
    module = timm.create_model("test_vit", num_classes=7)
    return map_layers(module), tuple(name for name, _ in module.named_parameters())


def pick(known: Known, *selectors: str) -> frozenset[str]:
    return select(selectors, *known)


def starting(known: Known, *prefixes: str) -> frozenset[str]:
    return frozenset(name for name in known[1] if name.startswith(prefixes))


def test_head_is_the_classifier(resnet: Known) -> None:
    assert pick(resnet, "head") == {"fc.weight", "fc.bias"}


def test_backbone_is_all_but_the_head(resnet: Known) -> None:
    assert pick(resnet, "backbone") == set(resnet[1]) - pick(resnet, "head")
    assert pick(resnet, "not head") == pick(resnet, "backbone")


def test_backbone_leaves_both_heads_of_a_distilled_model_out() -> None:
    module = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=7, depth=2)
    names = tuple(name for name, _ in module.named_parameters())
    heads = {"head.weight", "head.bias", "head_dist.weight", "head_dist.bias"}
    assert select(["backbone"], map_layers(module), names) == set(names) - heads


def test_all_is_every_name(resnet: Known) -> None:
    assert pick(resnet, "all") == set(resnet[1])


def test_stages_count_from_the_stem(resnet: Known) -> None:
    assert pick(resnet, "stage.0") == starting(resnet, "conv1.", "bn1.")
    assert pick(resnet, "stage.2") == starting(resnet, "layer2.")


def test_last_stage_is_the_end_of_the_backbone(resnet: Known) -> None:
    assert pick(resnet, "stage.-1") == starting(resnet, "layer4.")
    assert pick(resnet, "head", "stage.-1") == starting(resnet, "layer4.", "fc.")


def test_stage_slices_are_those_of_a_list(resnet: Known) -> None:
    assert pick(resnet, "stages[:2]") == starting(resnet, "conv1.", "bn1.", "layer1.")
    assert pick(resnet, "stages[-2:]") == starting(resnet, "layer3.", "layer4.")
    assert pick(resnet, "stages[:]") == set(resnet[1]) - {"fc.weight", "fc.bias"}


def test_layers_are_depths_with_the_head_last(resnet: Known) -> None:
    assert pick(resnet, "layer.1") == starting(resnet, "layer1.0.")
    assert pick(resnet, "layer.-1") == starting(resnet, "fc.")
    assert pick(resnet, "layers[-3:]") == starting(resnet, "layer4.", "fc.")


def test_norm_picks_scales_and_shifts_only(resnet: Known) -> None:
    norms = pick(resnet, "norm")
    assert norms == {n for n in resnet[1] if ".bn" in n or "bn1" in n or "downsample.1" in n}


def test_bias_and_embed_of_a_vit(vit: Known) -> None:
    assert pick(vit, "bias") == {
        n for n in vit[1] if n.startswith("blocks") and n.endswith("bias") and "norm" not in n
    }
    assert pick(vit, "embed") == starting(vit, "cls_token", "pos_embed", "reg_token", "patch_embed")


def test_names_fit_patterns_or_modules(vit: Known) -> None:
    assert pick(vit, "name:blocks.*.mlp.*") == {n for n in vit[1] if ".mlp." in n}
    assert pick(vit, "name:blocks.3") == starting(vit, "blocks.3.")
    assert pick(vit, "name:pos_embed") == {"pos_embed"}


def test_not_takes_away_wherever_it_stands(resnet: Known) -> None:
    body = pick(resnet, "all") - pick(resnet, "norm")
    assert pick(resnet, "all", "not norm") == pick(resnet, "not norm", "all") == body
    assert pick(resnet, "not norm") == body


def test_only_the_given_names_are_picked(resnet: Known) -> None:
    layers, names = resnet
    assert select(["all"], layers, names[:3]) == set(names[:3])


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("embed", "all, backbone, head, norm; stage.0 to stage.4; layer.0 to layer.9"),
        ("stage.5", "stage.0 to stage.4"),
        ("stage.99", "stage.0 to stage.4"),
        ("stage.-6", "stage.0 to stage.4"),
        ("stage.-7", "stage.0 to stage.4"),
        ("layer.10", "layer.0 to layer.9"),
        ("layer.-11", "layer.0 to layer.9"),
        ("stages[5:]", "stage.0 to stage.4"),
        ("stages[-9:-5]", "stage.0 to stage.4"),
        ("layers[10:12]", "layer.0 to layer.9"),
        ("name:layer5.*", "close names: layer4."),
        ("name:stem", "close names: "),
        ("not stage.99", "'stage.99' fits nothing"),
        ("not name:stem", "no parameter's name fits 'stem'"),
    ],
)
def test_a_selector_that_fits_nothing_says_what_exists(
    resnet: Known, selector: str, expected: str
) -> None:
    with pytest.raises(ModelError) as caught:
        pick(resnet, selector)
    assert expected in str(caught.value)


def test_taking_everything_away_is_refused(resnet: Known) -> None:
    with pytest.raises(ModelError, match="leave nothing"):
        pick(resnet, "head", "not all")


def test_a_wrong_selector_is_found_beside_right_ones(resnet: Known) -> None:
    with pytest.raises(ModelError, match=r"'stage.9' fits nothing"):
        pick(resnet, "all", "stage.9")


SELECTORS = st.one_of(
    st.sampled_from(
        ["all", "backbone", "head", "norm", "name:layer4.*", "name:*.conv1", "name:fc"]
    ),
    st.integers(-5, 4).map(lambda number: f"stage.{number}"),
    st.integers(-10, 9).map(lambda number: f"layer.{number}"),
    st.tuples(st.integers(0, 2), st.integers(3, 5)).map(
        lambda ends: f"stages[{ends[0]}:{ends[1]}]"
    ),
    st.tuples(st.integers(0, 4), st.integers(5, 10)).map(
        lambda ends: f"layers[{ends[0]}:{ends[1]}]"
    ),
)


@settings(max_examples=60, deadline=None)
@given(first=st.lists(SELECTORS, min_size=1, max_size=4), second=SELECTORS)
def test_several_selectors_pick_their_union(resnet: Known, first: list[str], second: str) -> None:
    union = frozenset().union(*(pick(resnet, one) for one in first))
    assert pick(resnet, *first) == pick(resnet, *reversed(first)) == union
    assert pick(resnet, *first, second) == union | pick(resnet, second)


@settings(max_examples=60, deadline=None)
@given(selector=SELECTORS, other=SELECTORS)
def test_not_is_the_complement(resnet: Known, selector: str, other: str) -> None:
    everything, taken = set(resnet[1]), pick(resnet, other)
    for wanted, selectors in (
        (everything - taken, [f"not {other}"]),
        (pick(resnet, selector) - taken, [selector, f"not {other}"]),
    ):
        if wanted:
            assert pick(resnet, *selectors) == wanted
        else:
            with pytest.raises(ModelError, match="leave nothing"):
                pick(resnet, *selectors)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(["stage", "layer"]), data=st.data())
def test_ranges_are_the_union_of_single_numbers(
    resnet: Known, kind: str, data: st.DataObject
) -> None:
    count = resnet[0].num_stages if kind == "stage" else resnet[0].num_depths
    start = data.draw(st.none() | st.integers(-count, count - 1))
    stop = data.draw(st.none() | st.integers(-count, count))
    numbers = range(count)[start:stop]
    text = f"{kind}s[{'' if start is None else start}:{'' if stop is None else stop}]"
    if numbers:
        singles = [pick(resnet, f"{kind}.{number}") for number in numbers]
        assert pick(resnet, text) == frozenset().union(*singles)
        assert sum(map(len, singles)) == len(pick(resnet, text))
    else:
        with pytest.raises(ModelError):
            pick(resnet, text)


@given(number=st.integers(1, 5))
def test_negative_numbers_count_from_the_end(resnet: Known, number: int) -> None:
    assert pick(resnet, f"stage.-{number}") == pick(resnet, f"stage.{5 - number}")


def test_stages_and_the_head_cut_every_model_once(resnet: Known, vit: Known) -> None:
    for known in (resnet, vit):
        stages = [pick(known, f"stage.{number}") for number in range(known[0].num_stages)]
        depths = [pick(known, f"layer.{number}") for number in range(known[0].num_depths)]
        for parts in ([*stages, pick(known, "head")], depths):
            assert sorted(name for part in parts for name in part) == sorted(known[1])
