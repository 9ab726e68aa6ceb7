"""Parameter groups; timm's own grouping is the reference for decay and layer-wise rates."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from hftune.errors import ModelError, PlanError
from hftune.model.layer_map import map_layers
from hftune.optim.groups import make_groups
from hftune.optim.layer_rates import rates_by_name
from hftune.recipe.schema import OptimRecipe


def all_names(module):
    return frozenset(name for name, _ in module.named_parameters())


def groups_of(mapped, optim, trainable=None):
    module, layers = mapped
    return make_groups(optim, layers, module, trainable=trainable or all_names(module))


def by_name(groups):
    return {name: group for group in groups for name in group.names}


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_every_trainable_parameter_is_in_exactly_one_group(mapped, data):
    module, layers = mapped
    names = sorted(all_names(module))
    trainable = frozenset(data.draw(st.sets(st.sampled_from(names), min_size=1, max_size=20)))
    optim = OptimRecipe(
        weight_decay=data.draw(st.sampled_from([0.0, 0.05])),
        layer_decay=data.draw(st.sampled_from([None, 0.65, 1.0])),
        rates=data.draw(
            st.dictionaries(
                st.sampled_from(["head", "all", "norm", "stage.-1", "layers[:2]"]),
                st.sampled_from([1e-4, "3x", "0.1x", 0]),
            )
        ),
    )
    groups = groups_of(mapped, optim, trainable)
    listed = [name for group in groups for name in group.names]
    rates = rates_by_name(optim, layers, names)
    moving = [name for name in trainable if name not in rates or rates[name].value > 0]
    assert sorted(listed) == sorted(moving)
    assert len({group.label for group in groups}) == len(groups)
    assert all(group.scale > 0 for group in groups)
    assert groups == groups_of(mapped, optim, trainable)
    depths = [layers.depth[group.names[0]] for group in groups]
    assert depths == sorted(depths)


def test_weight_decay_is_where_timm_has_it(mapped):
    module, _ = mapped
    groups = by_name(groups_of(mapped, OptimRecipe(weight_decay=0.05)))
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    no_decay = getattr(module, "no_weight_decay", set)()
    reference = param_groups_weight_decay(module, 0.05, no_weight_decay_list=no_decay)
    expected = {
        names[id(parameter)]: group["weight_decay"]
        for group in reference
        for parameter in group["params"]
    }
    assert {name: group.weight_decay for name, group in groups.items()} == expected


def test_layer_decay_agrees_with_timm(mapped):
    module, _ = mapped
    groups = by_name(groups_of(mapped, OptimRecipe(layer_decay=0.75)))
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    reference = param_groups_layer_decay(module, layer_decay=0.75)
    expected = {
        names[id(parameter)]: pytest.approx(group["lr_scale"])
        for group in reference
        for parameter in group["params"]
    }
    assert {name: group.scale for name, group in groups.items()} == expected


def test_plain_recipe_has_two_groups(resnet):
    groups = groups_of(resnet, OptimRecipe(weight_decay=0.05))
    assert [(group.label, group.scale, group.weight_decay) for group in groups] == [
        ("main", 1.0, 0.05),
        ("main, no decay", 1.0, 0.0),
    ]
    decayed, plain = groups
    assert "conv1.weight" in decayed.names
    assert "fc.weight" in decayed.names
    assert {"fc.bias", "bn1.weight", "layer1.0.bn1.bias"} <= set(plain.names)


def test_layer_decay_by_hand(vit):
    _, layers = vit
    groups = by_name(groups_of(vit, OptimRecipe(layer_decay=0.5)))
    last = layers.num_depths - 1
    assert groups["head.weight"].scale == 1.0
    assert groups["blocks.2.attn.qkv.weight"].scale == 0.5 ** (
        last - layers.depth["blocks.2.attn.qkv.weight"]
    )
    assert groups["patch_embed.proj.weight"].scale == 0.5**last


def test_rates_by_selector_replace_or_multiply(resnet):
    optim = OptimRecipe(lr=1e-3, rates={"all": "0.1x", "stage.1": 5e-4, "head": "3x"})
    groups = by_name(groups_of(resnet, optim))
    assert groups["conv1.weight"].scale == pytest.approx(0.1)
    assert groups["layer1.0.conv1.weight"].scale == pytest.approx(0.5)
    assert groups["fc.weight"].scale == pytest.approx(3.0)


def test_the_last_matching_selector_wins(resnet):
    optim = OptimRecipe(lr=1e-3, rates={"head": "3x", "all": "0.1x"})
    groups = by_name(groups_of(resnet, optim))
    assert groups["fc.weight"].scale == pytest.approx(0.1)


def test_multiples_come_on_top_of_layer_decay_and_fixed_rates_do_not(resnet):
    _, layers = resnet
    optim = OptimRecipe(lr=1e-3, layer_decay=0.5, rates={"layer.0": "4x", "layer.1": 1e-3})
    groups = by_name(groups_of(resnet, optim))
    assert groups["conv1.weight"].scale == pytest.approx(4 * 0.5 ** (layers.num_depths - 1))
    first = next(name for name, depth in layers.depth.items() if depth == 1)
    assert groups[first].scale == pytest.approx(1.0)


def test_labels_do_not_depend_on_what_trains(resnet):
    module, _ = resnet
    optim = OptimRecipe(layer_decay=0.75, rates={"head": "3x"})
    everything = by_name(groups_of(resnet, optim))
    some = frozenset(name for name in all_names(module) if name.startswith(("fc", "layer4")))
    for name, group in by_name(groups_of(resnet, optim, some)).items():
        assert group.label == everything[name].label


def test_a_selector_that_matches_nothing_is_an_error(resnet):
    with pytest.raises(ModelError, match="blocks") as caught:
        groups_of(resnet, OptimRecipe(rates={"name:blocks.*": "2x"}))
    assert caught.value.where == "optim.rates"


def test_a_selector_of_frozen_parameters_is_no_error(resnet):
    optim = OptimRecipe(rates={"stage.0": "0.1x"})
    groups = groups_of(resnet, optim, frozenset({"fc.weight", "fc.bias"}))
    assert [group.label for group in groups] == ["main", "main, no decay"]


@pytest.mark.parametrize("rate", [-1e-3, "fast", "3", "-2x", float("nan"), float("inf")])
def test_a_rate_that_cannot_be_used_is_refused(resnet, rate):
    with pytest.raises(PlanError) as caught:
        groups_of(resnet, OptimRecipe(rates={"head": rate}))
    assert caught.value.where == "optim.rates.head"


def test_matrices_decay_and_positions_do_not(vit):
    groups = by_name(groups_of(vit, OptimRecipe(weight_decay=0.1)))
    assert groups["pos_embed"].weight_decay == 0
    assert groups["cls_token"].weight_decay == 0
    assert groups["patch_embed.proj.weight"].weight_decay == 0.1


def test_names_that_are_no_parameters_are_a_callers_mistake(resnet):
    with pytest.raises(ValueError, match="ghost"):
        groups_of(resnet, OptimRecipe(), frozenset({"ghost"}))


@pytest.mark.parametrize("zero", [0, 0.0, "0x", "0.0x"])
def test_a_rate_of_zero_is_no_group(resnet, zero):
    groups = by_name(groups_of(resnet, OptimRecipe(rates={"backbone": zero, "stage.4": "1x"})))
    kept = {name for name in all_names(resnet[0]) if name.startswith(("layer4.", "fc."))}
    assert set(groups) == kept


def test_backbone_and_head_have_rates_of_their_own(resnet):
    optim = OptimRecipe(lr=1e-2, rates={"backbone": 1e-4, "head": 1e-3})
    for name, group in by_name(groups_of(resnet, optim)).items():
        assert optim.lr * group.scale == pytest.approx(1e-3 if name.startswith("fc.") else 1e-4)


class _OnePiece(nn.Module):
    """A backbone whose family counts it as a single group, as an own model in timm may."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.fc = nn.Linear(4, 3)
        self.pretrained_cfg = {"classifier": "fc"}

    def get_classifier(self):
        return self.fc

    def group_matcher(self, coarse=False):  # noqa: ARG002  # timm's signature
        return {"body": r"^body", "head": r"^fc"}


def test_layer_decay_without_depths_is_refused_with_the_remedy():
    module = _OnePiece()
    mapped = module, map_layers(module)
    with pytest.raises(PlanError) as caught:
        groups_of(mapped, OptimRecipe(layer_decay=0.75))
    assert str(caught.value) == (
        "layer decay has no depths to go by in this model\n"
        "  found:    optim.layer_decay: 0.75, and a backbone of one piece\n"
        "  where:    optim.layer_decay\n"
        "  do:       give the backbone a rate of its own, such as optim.rates: {backbone: 0.1x}"
    )
    for none in (None, 1):
        assert {group.scale for group in groups_of(mapped, OptimRecipe(layer_decay=none))} == {1.0}
