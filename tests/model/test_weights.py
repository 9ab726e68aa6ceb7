"""Weight files in and out: exact, whole, and never pickled unless asked."""

import argparse
import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hftune.errors import WeightsError
from hftune.model.weights import load_into, plain_state, read_weights, save_weights


def build(architecture: str = "test_resnet", num_classes: int = 4) -> nn.Module:
    return timm.create_model(architecture, num_classes=num_classes)


def assert_equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "test_efficientnet"])
def test_saved_and_loaded_tensors_are_bit_equal(architecture: str, tmp_path: Path) -> None:
    module = build(architecture)
    save_weights(plain_state(module), tmp_path / "model.safetensors", metadata={})
    other = build(architecture)
    report = load_into(other, read_weights(tmp_path / "model.safetensors"))
    assert_equal(dict(module.state_dict()), dict(other.state_dict()))
    assert set(report.matched) == set(module.state_dict())
    assert report.reset == report.missing == report.left_over == ()


def test_channels_last_weights_are_saved_contiguous(tmp_path: Path) -> None:
    module = build().to(memory_format=torch.channels_last)
    assert not module.conv1[0].weight.is_contiguous()
    save_weights(plain_state(module), tmp_path / "w.safetensors", metadata={})
    loaded = load_file(tmp_path / "w.safetensors")
    assert_equal(loaded, dict(module.state_dict()))
    assert all(tensor.is_contiguous() for tensor in loaded.values())


def test_views_and_tied_tensors_are_saved_under_each_name(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {"whole": whole, "same": whole, "part": whole[:, 1], "turned": whole.T}
    save_weights(tensors, tmp_path / "w.safetensors", metadata={})
    assert_equal(load_file(tmp_path / "w.safetensors"), tensors)


def test_a_model_with_shared_layers_loads_back(tmp_path: Path) -> None:
    module = build("coat_tiny")
    save_weights(plain_state(module), tmp_path / "w.safetensors", metadata={})
    other = build("coat_tiny")
    report = load_into(other, read_weights(tmp_path / "w.safetensors"))
    assert report.missing == ()
    assert_equal(dict(module.state_dict()), dict(other.state_dict()))


def test_metadata_names_the_format_and_our_facts(tmp_path: Path) -> None:
    save_weights({"a": torch.ones(1)}, tmp_path / "w.safetensors", metadata={"labels": "x"})
    with safe_open(tmp_path / "w.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt", "labels": "x"}


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    metadata = {name: name.upper() for name in "qwertyuiopasdfgh"}
    contents = set()
    for number in range(8):
        path = tmp_path / f"{number}.safetensors"
        save_weights({"b": torch.ones(2), "a": torch.zeros(3)}, path, metadata=metadata)
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_header_is_aligned_for_metadata_of_any_length(tmp_path: Path) -> None:
    for length in range(9):
        path = tmp_path / "w.safetensors"
        save_weights({"a": torch.arange(5)}, path, metadata={"note": "\u00fc" * length})
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        assert size % 8 == 0
        assert json.loads(content[8 : 8 + size])["__metadata__"]["note"] == "\u00fc" * length
        assert torch.equal(load_file(path)["a"], torch.arange(5))


def test_saving_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights({"a": torch.ones(1)}, path, metadata={})
    save_weights({"a": torch.zeros(1)}, path, metadata={})
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.safetensors"]
    assert torch.equal(load_file(path)["a"], torch.zeros(1))


def test_saved_tensors_do_not_need_gradients_gone() -> None:
    parameter = nn.Parameter(torch.ones(2))
    assert plain_state(nn.ParameterList([parameter]))["0"].requires_grad is False


def test_plain_state_has_the_names_of_the_bare_module(tmp_path: Path) -> None:
    module = build()
    expected = dict(module.state_dict())
    assert_equal(plain_state(torch.compile(module)), expected)
    store = f"file://{tmp_path / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(module)
        assert_equal(plain_state(wrapped), expected)
        assert_equal(plain_state(torch.compile(wrapped)), expected)
    finally:
        torch.distributed.destroy_process_group()


def test_plain_state_unwraps_a_compiled_part() -> None:
    module = nn.Sequential(nn.Linear(2, 2))
    expected = dict(module.state_dict())
    module[0] = torch.compile(module[0])
    assert_equal(plain_state(module), expected)


def test_plain_state_keeps_a_part_that_is_called_module() -> None:
    module = nn.Sequential()
    module.add_module("module", nn.Linear(2, 2))
    assert list(plain_state(module)) == ["module.weight", "module.bias"]


@pytest.mark.parametrize(
    "wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_wrapper_prefixes_are_taken_off(wrapper: str, tmp_path: Path) -> None:
    save_file({f"{wrapper}fc.weight": torch.ones(2)}, tmp_path / "w.safetensors")
    assert list(read_weights(tmp_path / "w.safetensors")) == ["fc.weight"]


@pytest.mark.parametrize("prefix", ["backbone.", "backbone", "module.backbone."])
def test_prefix_is_stripped_and_other_names_stay(prefix: str, tmp_path: Path) -> None:
    tensors = {"module.backbone.conv1.weight": torch.ones(2), "module.head.bias": torch.ones(1)}
    save_file(tensors, tmp_path / "w.safetensors")
    found = read_weights(tmp_path / "w.safetensors", strip_prefix=prefix)
    assert sorted(found) == ["conv1.weight", "head.bias"]


def test_prefix_is_stripped_once(tmp_path: Path) -> None:
    save_file({"net.net.weight": torch.ones(2)}, tmp_path / "w.safetensors")
    assert list(read_weights(tmp_path / "w.safetensors", strip_prefix="net.")) == ["net.weight"]


def test_prefix_that_no_name_has_is_refused(tmp_path: Path) -> None:
    save_file({"trunk.weight": torch.ones(2)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"trunk\."):
        read_weights(tmp_path / "w.safetensors", strip_prefix="backbone.")


def test_names_that_meet_after_stripping_are_refused(tmp_path: Path) -> None:
    save_file({"a.weight": torch.ones(2), "weight": torch.ones(2)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="both weight"):
        read_weights(tmp_path / "w.safetensors", strip_prefix="a.")


@pytest.mark.parametrize("key", ["state_dict", "model", "state_dict_ema", "model_ema", "ema"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".pth.tar"])
def test_pickled_checkpoints_are_read_when_asked(key: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"checkpoint{suffix}"
    torch.save(
        {key: {"module.a": torch.ones(2)}, "epoch": 3, "args": argparse.Namespace(lr=1)}, path
    )
    assert_equal(read_weights(path, allow_pickle=True), {"a": torch.ones(2)})


def test_averaged_weights_are_preferred(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    content = {"state_dict": {"a": torch.zeros(1)}, "state_dict_ema": {"a": torch.ones(1)}}
    torch.save(content, path)
    assert torch.equal(read_weights(path, allow_pickle=True)["a"], torch.ones(1))


def test_a_bare_state_dict_with_parameters_is_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"a": nn.Parameter(torch.ones(2)), "version": 2}, path)
    found = read_weights(path, allow_pickle=True)
    assert list(found) == ["a"]
    assert not found["a"].requires_grad


@pytest.mark.parametrize("suffix", [".pth", ".bin"])
def test_pickles_are_refused_by_default(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(WeightsError, match="allow_pickle: true"):
        read_weights(path)


def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (trap,)

    path = tmp_path / "w.pth"
    torch.save({"a": Trap()}, path)
    with pytest.raises(WeightsError, match="more than tensors"):
        read_weights(path, allow_pickle=True)
    assert not trap.exists()


def damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    if kind == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "short":
        path.write_bytes(content[:5])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "noise":
        path.write_bytes(bytes(reversed(content)))
    else:
        path.write_bytes(b"<html>not found</html>" * 10)


@pytest.mark.parametrize("kind", ["cut", "short", "empty", "noise", "page"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_damaged_files_are_refused(kind: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save({"a": torch.ones(1000)}, path)
    else:
        save_file({"a": torch.ones(1000)}, path)
    damage(path, kind)
    with pytest.raises(WeightsError, match="damaged") as caught:
        read_weights(path, allow_pickle=True)
    assert caught.value.remedy is not None
    assert caught.value.where == str(path)


def test_a_pickle_called_safetensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(WeightsError, match="damaged"):
        read_weights(path)


def test_a_large_file_pointer_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(WeightsError, match="git lfs pull"):
        read_weights(path)


def test_missing_files_folders_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such weight file"):
        read_weights(tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="a folder"):
        read_weights(tmp_path)
    (tmp_path / "w.npz").write_bytes(b"PK")
    with pytest.raises(WeightsError, match=r"\.safetensors"):
        read_weights(tmp_path / "w.npz")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.ones(2)])
def test_a_file_without_named_tensors_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no named tensors"):
        read_weights(tmp_path / "w.pth", allow_pickle=True)


def test_report_tells_the_four_fates(tmp_path: Path) -> None:
    tensors = dict(build().state_dict())
    del tensors["bn1.num_batches_tracked"]
    tensors["aux.weight"] = torch.ones(2)
    report = load_into(build(num_classes=9), tensors, head=("fc",))
    assert report.reset == ("fc.weight", "fc.bias")
    assert report.missing == ("bn1.num_batches_tracked",)
    assert report.left_over == ("aux.weight",)
    assert "conv1.0.weight" in report.matched
    assert "fc.weight" not in report.matched


@pytest.mark.parametrize("name", ["layer2.0.conv1.weight", "bn1.running_var", "bn1.weight"])
def test_a_backbone_tensor_that_would_stay_random_is_an_error(name: str) -> None:
    module = build()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    tensors = dict(build().state_dict())
    del tensors[name]
    with pytest.raises(WeightsError, match=name):
        load_into(module, tensors, head=("fc",))
    assert_equal(before, dict(module.state_dict()))


def test_another_architecture_is_refused_with_counts_and_examples() -> None:
    module = build("test_vit")
    with pytest.raises(WeightsError) as caught:
        load_into(module, build("test_resnet").state_dict(), head=("head",), where="w.safetensors")
    text = str(caught.value)
    total = len(module.state_dict())
    assert f"{total - 2} of {total - 2} tensors are missing: cls_token" in text
    assert "another architecture" in text
    assert "w.safetensors" in text


def test_a_head_of_another_size_is_refused_with_both_shapes() -> None:
    module = build(num_classes=4)
    with pytest.raises(WeightsError) as caught:
        load_into(module, build(num_classes=9).state_dict())
    width = module.fc.in_features
    assert f"fc.weight is 9x{width}, not 4x{width}" in str(caught.value)


def test_half_precision_files_load_into_fp32(tmp_path: Path) -> None:
    tensors = {n: t.half() if t.is_floating_point() else t for n, t in build().state_dict().items()}
    module = build()
    load_into(module, tensors)
    assert module.fc.weight.dtype == torch.float32
    assert torch.equal(module.fc.weight, tensors["fc.weight"].float())
