"""The constructor's door: seeds, sizes, rates and refusals."""

import pytest
import torch
from torch import nn

from hftune.errors import ModelError
from hftune.model.construct import construct, shaping_args
from hftune.model.hub_config import registry_config
from hftune.recipe.schema import ModelRecipe


def build(architecture: str, *, seed: int = 0, **settings: object) -> nn.Module:
    recipe = ModelRecipe(architecture=architecture, **settings)
    config = registry_config(architecture)
    args = shaping_args(recipe, config)
    return construct(config, args, recipe=recipe, num_classes=3, seed=seed)


def test_random_values_repeat_by_seed_and_leave_the_global_state() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one = build("test_resnet", seed=1).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(8)
    same = build("test_resnet", seed=1).state_dict()
    other = build("test_resnet", seed=2).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["conv1.0.weight"], other["conv1.0.weight"])


def test_models_of_fixed_size_are_built_for_the_size() -> None:
    module = build("test_vit", image_size=(96, 64))
    assert module.eval()(torch.zeros(1, 3, 96, 64)).shape == (1, 3)
    assert module.patch_embed.img_size == (96, 64)


def test_models_of_any_size_get_no_size() -> None:
    recipe = ModelRecipe(architecture="test_resnet", image_size=96)
    assert "img_size" not in shaping_args(recipe, registry_config("test_resnet"))


def test_models_made_for_any_size_by_option_get_no_size() -> None:
    recipe = ModelRecipe(architecture="test_vit", image_size=96, options={"dynamic_img_size": True})
    assert "img_size" not in shaping_args(recipe, registry_config("test_vit"))


def test_channels_reach_the_first_layer() -> None:
    assert build("test_resnet", channels=5).conv1[0].in_channels == 5


def test_dropout_and_stochastic_depth_are_set() -> None:
    module = build("test_vit", drop_rate=0.3, drop_path=0.2)
    assert module.head_drop.p == 0.3
    assert module.blocks[-1].drop_path1.drop_prob == pytest.approx(0.2)


@pytest.mark.parametrize("architecture", ["dla46_c", "ghostnet_050", "hrnet_w18_small"])
def test_no_stochastic_depth_is_fine_where_there_is_none(architecture: str) -> None:
    module = build(architecture)
    assert module.num_classes == 3


def test_stochastic_depth_where_there_is_none_is_refused() -> None:
    with pytest.raises(ModelError, match="ghostnet_050 takes no 'drop_path_rate'") as caught:
        build("ghostnet_050", drop_path=0.1)
    assert caught.value.where == "model.drop_path"


def test_options_reach_the_constructor_as_tuples() -> None:
    module = build("test_resnet", options={"channels": [16, 16, 24, 24]})
    assert module.num_features == 24


def test_unknown_options_are_refused_with_close_names() -> None:
    with pytest.raises(ModelError, match="close names: init_values") as caught:
        build("test_vit", options={"init_value": 1e-5})
    assert caught.value.where == "model.options.init_value"


@pytest.mark.parametrize(
    ("option", "setting"),
    [("num_classes", "the classes of the data"), ("in_chans", "model.channels")],
)
def test_options_with_a_setting_of_their_own_are_refused(option: str, setting: str) -> None:
    with pytest.raises(ModelError, match=setting):
        build("test_vit", options={option: 5})


def test_values_that_cannot_be_built_are_refused() -> None:
    with pytest.raises(ModelError, match="cannot be built") as caught:
        build("test_vit", options={"num_heads": 5})
    assert "num_heads=5" in str(caught.value)


def test_arguments_for_training_only_are_no_facts_of_the_weights() -> None:
    config = registry_config("test_vit")
    config = type(config)(
        architecture=config.architecture,
        pretrained_cfg=config.pretrained_cfg,
        model_args={
            "num_classes": 9,
            "drop_rate": 0.1,
            "attn_drop_rate": 0.2,
            "img_size": [96, 96],
        },
    )
    assert shaping_args(ModelRecipe(), config) == {"img_size": (96, 96)}
