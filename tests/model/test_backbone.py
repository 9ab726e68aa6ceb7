"""From a recipe and a pulled folder to a module: exact weights, heads by name, nothing silent."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from hftune.core import HeadStart, LabelSpace, Model, RepoRef
from hftune.errors import ModelError, WeightsError
from hftune.model.backbone import build_model
from hftune.recipe.schema import ModelRecipe

WriteBase = Callable[..., RepoRef]
BASE = ("ant", "bee", "cat", "dog")


def build(
    source: RepoRef | None,
    names: tuple[str, ...] = ("no", "yes"),
    *,
    seed: int = 0,
    **settings: object,
) -> Model:
    return build_model(ModelRecipe(**settings), LabelSpace(names=names), source=source, seed=seed)


def file_tensors(source: RepoRef) -> dict[str, Tensor]:
    return load_file(source.folder / "model.safetensors")


def logits(module: nn.Module, size: int = 160) -> Tensor:
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return module.eval()(images)


@pytest.mark.parametrize(
    "architecture",
    [
        "test_resnet",
        "test_vit",
        "test_efficientnet",
        "test_convnext",
        "test_byobnet",
        "test_mambaout",
        "test_nfnet",
        "deit_tiny_distilled_patch16_224",
    ],
)
def test_backbone_is_exact_and_head_is_new_for_other_classes(
    architecture: str, write_base: WriteBase
) -> None:
    source = write_base(architecture)
    model = build(source)
    state, base = model.module.state_dict(), file_tensors(source)
    head = {name for name, role in model.layers.role.items() if role == "head"}
    assert set(model.weights.reset) == head
    assert set(model.weights.matched) == set(state) - head
    assert model.weights.missing == model.weights.left_over == ()
    assert all(torch.equal(state[name], base[name]) for name in model.weights.matched)
    assert all(state[name].shape[0] == 2 for name in head)
    assert all(tensor.dtype != torch.float16 for tensor in state.values())


def test_head_with_the_same_names_is_kept_exactly(write_base: WriteBase) -> None:
    source = write_base()
    model = build(source, BASE)
    assert model.weights.reset == ()
    base = file_tensors(source)
    assert all(torch.equal(t, base[n]) for n, t in model.module.state_dict().items())


@pytest.mark.parametrize(
    "architecture", ["test_resnet", "deit_tiny_distilled_patch16_224", "dpn68"]
)
def test_head_with_names_in_another_order_is_permuted(
    architecture: str, write_base: WriteBase
) -> None:
    source = write_base(architecture)
    names = ("dog", "ant", "cat", "bee")
    model = build(source, names)
    assert model.weights.reset == ()
    size = model.input_spec.height
    in_order = logits(build(source, BASE).module, size)
    rows = [BASE.index(name) for name in names]
    assert torch.allclose(logits(model.module, size), in_order[:, rows], atol=1e-6)


def test_equal_counts_do_not_keep_a_head_of_other_classes(write_base: WriteBase) -> None:
    source = write_base()
    model = build(source, ("fox", "gnu", "hen", "eel"))
    assert set(model.weights.reset) == {"fc.weight", "fc.bias"}
    assert model.weights.head is None
    assert not torch.equal(model.module.fc.weight, file_tensors(source)["fc.weight"])


def test_equal_counts_without_names_do_not_keep_the_head(write_base: WriteBase) -> None:
    assert build(write_base(names=None), BASE).weights.reset == ("fc.weight", "fc.bias")


@pytest.mark.parametrize(
    "architecture", ["test_resnet", "deit_tiny_distilled_patch16_224", "dpn68"]
)
def test_classes_of_the_base_keep_their_rows_and_others_start_from_the_mean(
    architecture: str, write_base: WriteBase
) -> None:
    source = write_base(architecture)
    names = ("eel", "Dog", "bee", "fox")
    model = build(source, names)
    head = {name for name, role in model.layers.role.items() if role == "head"}
    assert set(model.weights.reset) == head
    assert model.weights.head == HeadStart(kept={"Dog": "dog", "bee": "bee"}, num_base=4)
    size = model.input_spec.height
    base = logits(build(source, BASE).module, size)
    ours = logits(model.module, size)
    mean = base.mean(dim=1)
    expected = torch.stack([mean, base[:, 3], base[:, 1], mean], dim=1)
    assert torch.allclose(ours, expected, atol=1e-5)


def test_a_class_more_leaves_every_answer_as_it_was(write_base: WriteBase) -> None:
    source = write_base()
    model = build(source, (*BASE, "eel"))
    base, ours = logits(build(source, BASE).module), logits(model.module)
    assert torch.allclose(ours[:, :4], base, atol=1e-6)
    assert torch.equal(ours.argmax(dim=1), base.argmax(dim=1))


def test_fewer_classes_keep_exact_rows(write_base: WriteBase) -> None:
    source = write_base()
    model = build(source, ("dog", "ant"))
    assert model.weights.reset == ()
    assert torch.equal(model.module.fc.weight, file_tensors(source)["fc.weight"][[3, 0]])


@pytest.mark.parametrize("names", [BASE, (*BASE, "eel")])
def test_the_whole_head_is_new_on_demand(names: tuple[str, ...], write_base: WriteBase) -> None:
    model = build(write_base(), names, head_rows="new", head_init="zero")
    assert set(model.weights.reset) == {"fc.weight", "fc.bias"}
    assert not model.module.fc.weight.any()


def test_a_class_that_the_base_calls_otherwise_is_named_in_the_recipe(
    write_base: WriteBase,
) -> None:
    names = {"hound": "dog", "emmet": "Ant"}
    model = build(write_base(), ("hound", "bee", "emmet", "eel"), base_names=names)
    assert model.weights.head == HeadStart(
        kept={"hound": "dog", "bee": "bee", "emmet": "ant"}, num_base=4
    )


def test_a_name_given_letter_by_letter_may_be_a_number(write_base: WriteBase) -> None:
    source = write_base(names=("0", "1", "2", "3"))
    assert build(source, ("cat", "3")).weights.head is None
    start = build(source, ("cat", "3"), base_names={"cat": "1"}).weights.head
    assert start == HeadStart(kept={"cat": "1"}, num_base=4)


@pytest.mark.parametrize(
    ("base_names", "words"),
    [
        ({"hund": "dog"}, "the data has no one class .*'hund'.*hound"),
        ({"hound": "dogs"}, "the base has no one class .*'dogs'.*dog"),
    ],
)
def test_names_that_nobody_has_are_refused(
    base_names: dict[str, str], words: str, write_base: WriteBase
) -> None:
    with pytest.raises(ModelError, match=f"(?s){words}"):
        build(write_base(), ("hound", "eel"), base_names=base_names)


def test_a_base_without_class_names_has_none_to_give(write_base: WriteBase) -> None:
    with pytest.raises(ModelError, match="names no classes"):
        build(write_base(names=None), ("hound", "eel"), base_names={"hound": "dog"})


def test_what_became_of_the_head_is_said_in_one_line(
    write_base: WriteBase, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_base()
    caplog.set_level(logging.INFO, logger="hftune")
    for names in (("no", "yes"), BASE, BASE[::-1], ("ant", "Bee", "eel"), ("dog", "ant")):
        build(source, names)
    new, kept, reordered, partly, fewer = caplog.messages
    assert "2 reset, 0 missing, 0 left over; the head is new, for it keeps no class" in new
    assert kept.endswith("the head is kept for the same classes")
    assert "kept for the same classes, its rows reordered by name" in reordered
    assert partly.endswith(
        "the head is the base's for 2 of 3 classes (ant, Bee from 'bee'); "
        "the others start from the mean of its rows"
    )
    assert fewer.endswith("the head is the base's for 2 of 2 classes (dog, ant)")


@pytest.mark.parametrize(("init", "bound"), [("normal", 0.2), ("zero", 0.0)])
def test_new_head_starts_near_zero(init: str, bound: float, write_base: WriteBase) -> None:
    module = build(write_base("test_efficientnet"), head_init=init).module
    assert module.classifier.weight.abs().max() <= bound
    assert not module.classifier.bias.any()


def test_new_head_differs_by_seed_and_repeats_by_seed(write_base: WriteBase) -> None:
    source = write_base()
    one, same, other = (build(source, seed=seed).module.fc.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_from_scratch_differs_by_seed_and_repeats_by_seed() -> None:
    states = [
        build(None, architecture="test_resnet", pretrained=False, seed=seed).module.state_dict()
        for seed in (1, 1, 2)
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["conv1.0.weight"], states[2]["conv1.0.weight"])
    assert not torch.equal(states[0]["fc.weight"], states[2]["fc.weight"])


def test_from_scratch_is_one_switch_away_from_the_pretrained_twin(write_base: WriteBase) -> None:
    source = write_base()
    twin, model = build(source, pretrained=False), build(source)
    assert twin.weights.matched == ()
    assert set(twin.weights.reset) == set(twin.module.state_dict())
    assert twin.input_spec == model.input_spec
    assert twin.base.architecture == model.base.architecture
    assert (twin.base.pretrained, twin.base.hub_id, twin.base.license) == (False, None, None)
    assert torch.equal(twin.module.fc.weight, model.module.fc.weight)


def test_building_leaves_the_global_random_state(write_base: WriteBase) -> None:
    source = write_base()
    before = torch.get_rng_state()
    build(source)
    build(source, pretrained=False)
    assert torch.equal(before, torch.get_rng_state())


def test_input_spec_is_that_of_the_weights(write_base: WriteBase) -> None:
    spec = build(write_base()).input_spec
    assert (spec.channels, spec.height, spec.width) == (3, 160, 160)
    assert (spec.mean, spec.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert (spec.interpolation, spec.crop_fraction, spec.crop_mode) == ("bilinear", 0.95, "center")


def test_size_and_crop_of_the_recipe_win(write_base: WriteBase) -> None:
    spec = build(write_base(), image_size=(96, 128), crop_fraction=1.0).input_spec
    assert (spec.height, spec.width, spec.crop_fraction) == (96, 128, 1.0)


def test_position_embedding_follows_the_size(write_base: WriteBase) -> None:
    source = write_base("test_vit")
    model = build(source, image_size=96)
    grid, tokens = 96 // 16, 1
    assert model.module.pos_embed.shape[1] == grid * grid + tokens
    assert "pos_embed" in model.weights.matched
    assert model.base.model_args["img_size"] == (96, 96)
    assert logits(model.module, 96).shape == (2, 2)
    base = file_tensors(source)["pos_embed"]
    expected = resample_abs_pos_embed(base, new_size=[grid, grid], num_prefix_tokens=tokens)
    assert torch.equal(model.module.pos_embed, expected)


def test_one_channel_sees_a_grey_image_as_three_did(write_base: WriteBase) -> None:
    source = write_base()
    model = build(source, BASE, channels=1)
    assert model.input_spec.channels == 1
    assert model.input_spec.mean == pytest.approx((0.5,))
    assert model.base.model_args["in_chans"] == 1
    grey = torch.rand(2, 1, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = model.module.eval()(grey)
        theirs = build(source, BASE).module.eval()(grey.expand(-1, 3, -1, -1))
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_more_channels_repeat_the_first_layer(write_base: WriteBase) -> None:
    source = write_base()
    module = build(source, channels=4).module
    base = file_tensors(source)["conv1.0.weight"]
    assert torch.allclose(module.conv1[0].weight[:, 3], base[:, 0] * 3 / 4)


def test_weights_for_other_than_colour_channels_load_but_do_not_adapt(
    write_base: WriteBase,
) -> None:
    source = write_base(options={"in_chans": 2})
    assert build(source).input_spec.channels == 2
    with pytest.raises(ModelError, match="weights for 2 channels"):
        build(source, channels=3)


def test_options_and_rates_reach_the_model(write_base: WriteBase) -> None:
    model = build(write_base("test_vit"), drop_rate=0.25, options={"attn_drop_rate": 0.1})
    assert model.module.head_drop.p == 0.25
    assert model.module.blocks[0].attn.attn_drop.p == 0.1
    assert not [option for option in model.base.model_args if "drop" in option]


def test_facts_of_the_base_are_kept(write_base: WriteBase) -> None:
    base = build(write_base()).base
    assert (base.architecture, base.repo_id, base.hub_id) == ("test_resnet", "org/base", "org/base")
    assert base.commit == "a" * 40
    assert "num_classes" not in base.model_args
    assert base.pretrained_cfg["classifier"] == "fc"


def test_licence_of_the_config_counts(write_base: WriteBase) -> None:
    source = write_base()
    path = source.folder / "config.json"
    content = json.loads(path.read_text())
    content["pretrained_cfg"]["license"] = "cc-by-4.0"
    path.write_text(json.dumps(content))
    assert build(source).base.license == "cc-by-4.0"


def test_licence_of_the_card_counts(write_base: WriteBase) -> None:
    source = write_base()
    (source.folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    assert build(source).base.license == "mit"


def test_a_licence_without_an_id_keeps_its_name_and_text(write_base: WriteBase) -> None:
    source = write_base()
    front = "license: other\nlicense_name: house\nlicense_link: https://example.org/terms"
    (source.folder / "README.md").write_text(f"---\n{front}\n---\n# A model\n")
    (source.folder / "LICENSE").write_text("Be kind.\n")
    base = build(source).base
    assert (base.license, base.license_name) == ("other", "house")
    assert (base.license_link, base.license_text) == ("https://example.org/terms", "Be kind.\n")


def test_arguments_of_the_base_rebuild_its_weights_in_timm(write_base: WriteBase) -> None:
    source = write_base("test_vit")
    model = build(source, image_size=96, channels=1)
    again = timm.create_model("test_vit", num_classes=2, **model.base.model_args)
    again.load_state_dict(model.module.state_dict(), strict=True)


def test_a_local_file_is_loaded_without_its_head(write_base: WriteBase, tmp_path: Path) -> None:
    source = write_base()
    tensors = {f"backbone.{name}": tensor for name, tensor in file_tensors(source).items()}
    path = tmp_path / "mine.safetensors"
    save_file({**tensors, "neck.weight": torch.ones(1)}, path)
    model = build(
        None, BASE, architecture="test_resnet", weights=str(path), strip_prefix="backbone."
    )
    assert model.weights.reset == ("fc.weight", "fc.bias")
    assert model.weights.left_over == ("neck.weight",)
    assert (model.base.hub_id, model.base.license) == (None, None)


def test_a_pickled_local_file_needs_permission(write_base: WriteBase, tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    torch.save({"state_dict": file_tensors(write_base())}, path)
    settings = {"architecture": "test_resnet", "weights": str(path)}
    with pytest.raises(WeightsError, match="allow_pickle"):
        build(None, **settings)
    assert build(None, **settings, allow_pickle=True).weights.missing == ()


def test_a_repository_of_pickles_is_refused_even_with_permission(write_base: WriteBase) -> None:
    source = write_base()
    torch.save(file_tensors(source), source.folder / "pytorch_model.bin")
    (source.folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="pickled weights only"):
        build(source, allow_pickle=True)


def test_weights_of_another_architecture_are_refused(write_base: WriteBase) -> None:
    other, source = write_base("test_vit"), write_base("test_resnet")
    save_file(file_tensors(other), source.folder / "model.safetensors")
    with pytest.raises(WeightsError, match="another architecture") as caught:
        build(source)
    assert caught.value.where == str(source.folder / "model.safetensors")


def test_a_filter_that_trips_over_foreign_weights_is_not_the_message(write_base: WriteBase) -> None:
    other, source = write_base("test_resnet"), write_base("test_vit")
    save_file(file_tensors(other), source.folder / "model.safetensors")
    with pytest.raises(WeightsError, match="tensors are missing"):
        build(source)


def test_truncated_weights_are_refused(write_base: WriteBase) -> None:
    path = write_base().folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="damaged"):
        build(RepoRef(folder=path.parent))


def test_the_background_class_of_old_heads_is_dropped(write_base: WriteBase) -> None:
    source = write_base(num_classes=5)
    path = source.folder / "config.json"
    content = json.loads(path.read_text())
    content["pretrained_cfg"]["label_offset"] = 1
    path.write_text(json.dumps(content))
    head = build(source, ("bee", "ant", "cat", "dog")).module.fc
    assert torch.equal(head.bias, file_tensors(source)["fc.bias"][[2, 1, 3, 4]])


def test_a_head_of_another_size_than_its_names_is_refused(write_base: WriteBase) -> None:
    source = write_base()
    path = source.folder / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"label_names": ["no", "yes"]}))
    with pytest.raises(WeightsError, match="2 rows"):
        build(source, ("no", "yes"))


def test_a_model_must_be_named() -> None:
    with pytest.raises(ModelError, match="no model is named"):
        build(None)
    with pytest.raises(ModelError, match="pretrained: false"):
        build(None, architecture="test_resnet")


def test_recipe_and_repository_must_agree_on_the_architecture(write_base: WriteBase) -> None:
    source = write_base()
    assert build(source, architecture="test_resnet").base.architecture == "test_resnet"
    with pytest.raises(ModelError, match="test_vit in the recipe, test_resnet in the repository"):
        build(source, architecture="test_vit")
