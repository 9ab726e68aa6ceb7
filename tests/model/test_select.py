"""Each selector picks what it names, and says what exists when it picks nothing."""

import pytest
import timm

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
        ("embed", "head, norm; stage.0 to stage.4; layer.0 to layer.9"),
        ("stage.5", "stage.0 to stage.4"),
        ("stage.-6", "stage.0 to stage.4"),
        ("layer.10", "layer.0 to layer.9"),
        ("stages[5:]", "stage.0 to stage.4"),
        ("haed", "did you mean head?"),
        ("layer4", "did you mean name:layer4?"),
        ("layer4.0.conv1", "did you mean name:layer4.0.conv1?"),
        ("name:layer5.*", "close names: layer4."),
        ("name:stem", "close names: "),
        ("not haed", "did you mean head?"),
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
