"""Every way in which a pushed timm model was seen to fail or to lie, one test each.

T1 to T11 are refused when they stand in a folder, and none of them stands in a built artifact.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hftune.errors import PublishError
from hftune.export.artifact import build_artifact
from hftune.export.checks import check_folder
from tests.finished import write_finished_run

Config = dict[str, Any]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_artifact(write_finished_run(tmp_path_factory.mktemp("runs") / "tiny-run")).folder


@pytest.fixture
def built(pristine: Path, tmp_path: Path) -> Path:
    """A built artifact that the test may break."""
    return Path(shutil.copytree(pristine, tmp_path / "artifact"))


def read_config(folder: Path) -> Config:
    config: Config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config


def refusal_after(folder: Path, change: Callable[[Config], object]) -> str:
    """Change config.json and give what the check says about it."""
    config = read_config(folder)
    change(config)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(PublishError) as caught:
        check_folder(folder)
    return str(caught.value.found)


def rename_weights(path: Path, rename: Callable[[str], str]) -> None:
    save_file({rename(name): tensor for name, tensor in load_file(path).items()}, path)


def test_a_built_artifact_passes(built):
    check_folder(built)


# T1: transformers passes the class count itself, and stops when model_args holds it as well.
def test_t1_the_class_count_is_not_among_the_constructor_options(built):
    assert "num_classes" not in read_config(built).get("model_args", {})
    found = refusal_after(built, lambda config: config.update(model_args={"num_classes": 3}))
    assert "'num_classes'" in found


@pytest.mark.parametrize("option", ["drop_rate", "drop_path_rate", "attn_drop_rate", "pretrained"])
def test_t1_no_training_option_is_published(built, option):
    found = refusal_after(built, lambda config: config.update(model_args={option: 0.1}))
    assert f"'{option}'" in found


# T2: safetensors refuses tensors that are not contiguous.
def test_t2_channels_last_weights_are_published_whole(make_run):
    from hftune.model.weights import plain_state, save_weights

    run = make_run()
    module = timm.create_model("test_resnet", pretrained=False, num_classes=3)
    module = module.to(memory_format=torch.channels_last)
    state = plain_state(module)
    assert any(not tensor.is_contiguous() for tensor in state.values())
    save_weights(state, run / "best" / "model.safetensors", metadata={})
    published = load_file(build_artifact(run).weights)
    assert published.keys() == state.keys()
    assert all(torch.equal(published[name], state[name]) for name in state)


# T3: a compiled or distributed module prefixes every name.
@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_t3_names_of_wrappers_are_taken_off(make_run, prefix):
    run = make_run()
    plain = load_file(run / "best" / "model.safetensors").keys()
    rename_weights(run / "best" / "model.safetensors", lambda name: prefix + name)
    assert load_file(build_artifact(run).weights).keys() == plain


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "timm_model."])
def test_t3_names_of_wrappers_are_refused(built, prefix):
    rename_weights(built / "model.safetensors", lambda name: prefix + name)
    assert "named after a wrapper" in refusal_after(built, lambda _: None)


# T4: transformers shows "0", "1", "2" for names given as a mapping.
def test_t4_class_names_are_a_list(built):
    assert read_config(built)["label_names"] == ["bad", "good", "odd"]
    names = {"0": "bad", "1": "good", "2": "odd"}
    assert "a dict" in refusal_after(built, lambda config: config.update(label_names=names))


# T5: numbers stay numbers in the pipeline's output.
def test_t5_class_names_are_text(make_run, built):
    run = make_run("digits", labels=("0", "1", "2"))
    assert read_config(build_artifact(run).folder)["label_names"] == ["0", "1", "2"]
    found = refusal_after(built, lambda config: config.update(label_names=[0, 1, 2]))
    assert "non-empty text" in found


# T6: with two classes of one name transformers drops the mapping from name to class.
def test_t6_class_names_are_unique(make_run):
    run = make_run(labels=("cat", "dog", "cat"))
    with pytest.raises(PublishError) as caught:
        build_artifact(run)
    assert "repeats cat" in str(caught.value)
    assert not (run / "artifact").exists()


# T7: timm saves too few names without a word, and the pipeline then prints LABEL_2.
def test_t7_there_is_a_name_for_every_class(built):
    found = refusal_after(built, lambda config: config["label_names"].pop())
    assert "2 names for 3 classes" in found


def test_t7_the_head_has_a_row_for_every_class(built):
    def one_more(config: Config) -> None:
        config["label_names"].append("new")
        config["num_classes"] = config["pretrained_cfg"]["num_classes"] = 4

    assert "fc.weight has 3 rows for 4 classes" in refusal_after(built, one_more)


# T8: with the same class count the names of the base survive in pretrained_cfg.
def test_t8_names_of_the_base_do_not_survive(built):
    assert "tench" not in (built / "config.json").read_text(encoding="utf-8")
    stale = {"label_names": ["tench", "goldfish", "shark"]}
    found = refusal_after(built, lambda config: config["pretrained_cfg"].update(stale))
    assert "those of the base" in found


def test_t8_names_are_never_left_out(built):
    assert "label_names is missing" in refusal_after(built, lambda c: c.pop("label_names"))


# T9: transformers refuses one logit with the problem type of several exclusive classes.
def test_t9_one_exclusive_class_is_refused(make_run):
    with pytest.raises(PublishError) as caught:
        build_artifact(make_run(labels=("defect",)))
    assert "train two classes" in str(caught.value)


def test_t9_one_class_among_any_number_is_fine(make_run):
    folder = build_artifact(make_run(labels=("defect",), problem="multi_label")).folder
    assert read_config(folder)["problem_type"] == "multi_label_classification"


def test_t9_an_unknown_problem_type_is_refused(built):
    found = refusal_after(built, lambda config: config.update(problem_type="ranking"))
    assert "problem_type is 'ranking'" in found


# T10: the base's test size would feed other pixels than those of the reported metric.
def test_t10_the_transform_is_the_evaluated_one(built):
    block = read_config(built)["pretrained_cfg"]
    assert "test_input_size" not in block
    assert "test_crop_pct" not in block
    assert block["input_size"] == [3, 64, 64]
    assert (block["crop_pct"], block["crop_mode"]) == (0.875, "center")
    assert block["interpolation"] == "bicubic"
    assert block["mean"] == [0.5, 0.5, 0.5]
    assert block["std"] == [0.25, 0.25, 0.25]


@pytest.mark.parametrize(
    ("key", "value"), [("test_input_size", [3, 224, 224]), ("test_crop_pct", 0.95)]
)
def test_t10_a_test_size_is_refused(built, key, value):
    found = refusal_after(built, lambda config: config["pretrained_cfg"].update({key: value}))
    assert f"pretrained_cfg.{key}" in found


@pytest.mark.parametrize("key", ["input_size", "mean", "std", "crop_pct", "interpolation"])
def test_t10_no_part_of_the_transform_is_missing(built, key):
    assert key in refusal_after(built, lambda config: config["pretrained_cfg"].pop(key))


# T11: other channel counts need their own mean and std, and the pipeline feeds three channels.
def test_t11_one_channel_has_one_mean_and_the_card_says_so(make_run):
    artifact = build_artifact(make_run(channels=1))
    config = read_config(artifact.folder)
    assert config["pretrained_cfg"]["input_size"] == [1, 64, 64]
    assert config["pretrained_cfg"]["mean"] == [0.5]
    assert config["model_args"]["in_chans"] == 1
    assert "cannot run this model" in artifact.card.read_text(encoding="utf-8")


def test_t11_means_for_other_channels_are_refused(built):
    found = refusal_after(built, lambda config: config["pretrained_cfg"].update(mean=[0.5]))
    assert "mean has 1 values, channels: 3" in found


def test_t11_a_constructor_for_other_channels_is_refused(built):
    found = refusal_after(built, lambda config: config.update(model_args={"in_chans": 1}))
    assert "another number" in found


# T12: timm's own card keeps old metrics, invents a licence and changes data set names.
def test_t12_the_card_states_licence_data_and_metrics_as_they_are(make_run):
    run = make_run(data_license="cc-by-4.0")
    data = json.loads((run / "data.json").read_text(encoding="utf-8"))
    data["facts"]["repo_id"] = "Some-Org/Solar_Cells"
    (run / "data.json").write_text(json.dumps(data), encoding="utf-8")
    model = json.loads((run / "model.json").read_text(encoding="utf-8"))
    model["base"]["license"] = "bsd-3-clause"
    (run / "model.json").write_text(json.dumps(model), encoding="utf-8")
    card = build_artifact(run).card.read_text(encoding="utf-8")
    assert "license: bsd-3-clause" in card
    assert "- Some-Org/Solar_Cells" in card
    assert "base_model: timm/test_resnet.r160_in1k" in card
    assert "base_model_relation: finetune" in card


def test_t12_no_licence_is_invented(make_run):
    run = make_run()
    model = json.loads((run / "model.json").read_text(encoding="utf-8"))
    model["base"]["license"] = None
    (run / "model.json").write_text(json.dumps(model), encoding="utf-8")
    card = build_artifact(run).card.read_text(encoding="utf-8")
    assert "\nlicense:" not in card
    assert "not stated by the author" in card


def test_t12_later_metrics_appear_and_the_users_words_stay(make_run):
    run = make_run()
    card = build_artifact(run).card
    text = card.read_text(encoding="utf-8")
    assert "0.8000" in text
    card.write_text(text + "\n## My notes\n\nTaken on a roof.\n", encoding="utf-8")
    results = (run / "results.json").read_text(encoding="utf-8")
    (run / "results.json").write_text(results.replace('"accuracy": 0.8', '"accuracy": 0.9123'))
    again = build_artifact(run).card.read_text(encoding="utf-8")
    assert "0.9123" in again
    assert "| Accuracy | 0.8000 |" not in again
    assert again.count("Taken on a roof.") == 1


@pytest.mark.parametrize("key", ["model_type", "architectures", "id2label", "label2id"])
def test_keys_that_loaders_derive_are_not_written_down(built, key):
    assert f"'{key}'" in refusal_after(built, lambda config: config.update({key: "x"}))


def test_without_pretrained_cfg_transformers_sees_no_timm_model(built):
    found = refusal_after(built, lambda config: config.pop("pretrained_cfg"))
    assert "would not recognise a timm model" in found


@pytest.mark.parametrize("name", ["pytorch_model.bin", "preprocessor_config.json"])
def test_files_that_mislead_loaders_are_refused(built, name):
    (built / name).write_bytes(b"{}")
    with pytest.raises(PublishError, match="must not be published"):
        check_folder(built)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_missing_file_is_named(built, name):
    (built / name).unlink()
    with pytest.raises(PublishError, match=f"there is no {name}"):
        check_folder(built)


def test_a_damaged_weight_file_is_refused(built):
    weights = built / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(PublishError, match="damaged"):
        check_folder(built)


def test_several_findings_are_reported_together(built):
    def break_twice(config: Config) -> None:
        config["label_names"] = ["bad", "bad", "odd"]
        config["pretrained_cfg"]["test_crop_pct"] = 1.0

    found = refusal_after(built, break_twice)
    assert "repeats bad" in found
    assert "test_crop_pct" in found


def test_the_weight_file_says_which_config_and_names_it_belongs_to(built):
    with safe_open(built / "model.safetensors", framework="pt") as weights:
        metadata = weights.metadata()
    assert metadata["format"] == "pt"
    assert metadata["labels_digest"] == read_config(built)["hftune"]["labels_digest"]
    assert len(metadata["config_digest"]) == 64
