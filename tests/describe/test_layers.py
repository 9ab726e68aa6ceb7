"""The layers of a model: every parameter in exactly one row of each table."""

import re
from pathlib import Path

import pytest
import timm

from hftune.cli.main import invoke
from hftune.describe import Description, describe
from hftune.model.layer_map import map_layers


def rows(description: Description, title: str) -> list[dict[str, object]]:
    return next(found for found in description.tables if found.title == title).to_json()


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext"])
def test_each_table_holds_every_parameter_once(name):
    description = describe(name)
    module = timm.create_model(name, pretrained=False)
    layers = map_layers(module)
    sizes = {key: value.numel() for key, value in module.named_parameters()}
    for title in ("stages", "layers"):
        table = rows(description, title)
        assert sum(int(str(row["tensors"])) for row in table) == len(sizes)
        assert sum(int(str(row["parameters"])) for row in table) == sum(sizes.values())
    assert [row["layer"] for row in rows(description, "layers")] == [
        f"layer.{number}" for number in range(layers.num_depths)
    ]
    assert description.parameters is not None
    listed = {row["name"]: row for row in description.parameters.to_json()}
    assert {key: row["numbers"] for key, row in listed.items()} == sizes
    for key, row in listed.items():
        assert row["layer"] == f"layer.{layers.depth[key]}"
        assert row["role"] == layers.role[key]


def test_the_layers_of_a_resnet_by_hand():
    description = describe("resnet18")
    # conv1 3x7x7x64, bn1 2x64; a basic block of 64 channels: two convolutions of 64x64x3x3.
    stages = {row["stage"]: row["parameters"] for row in rows(description, "stages")}
    assert stages["stage.0"] == 3 * 7 * 7 * 64 + 2 * 64
    assert stages["stage.1"] == 4 * (64 * 64 * 9 + 2 * 64)
    assert stages["head"] == 512 * 1000 + 1000
    layers = {row["layer"]: row for row in rows(description, "layers")}
    assert layers["layer.0"]["modules"] == "conv1, bn1"
    assert layers["layer.1"]["modules"] == "layer1.0"
    assert layers["layer.1"]["norms"] == "2 BatchNorm2d"
    assert rows(description, "norm layers") == [
        {
            "kind": "BatchNorm2d",
            "layers": 20,
            "parameters": 9600,
            "running statistics": "mean and variance",
        }
    ]
    assert description.facts["head"] == "fc (1000 x 512)"
    assert description.parameters is not None
    first = description.parameters.to_json()[0]
    assert first == {
        "name": "conv1.weight",
        "shape": "64 x 3 x 7 x 7",
        "numbers": 9408,
        "stage": "stage.0",
        "layer": "layer.0",
        "role": "body",
    }


def test_layer_norms_keep_no_statistics_and_parameters_of_the_model_itself_have_names():
    description = describe("test_vit")
    (norm,) = rows(description, "norm layers")
    assert (norm["kind"], norm["running statistics"]) == ("LayerNorm", "none")
    layers = rows(description, "layers")
    assert layers[0]["modules"] == "cls_token, pos_embed, patch_embed.proj"
    assert layers[6]["modules"] == "blocks.5, norm"


def test_names_lists_every_parameter_and_nothing_else(capsys):
    assert invoke(["inspect", "test_resnet", "--names"]) == 0
    out = capsys.readouterr().out
    assert "\nparameters\n" in out
    assert "\nstages\n" not in out
    line = next(line for line in out.splitlines() if line.strip().startswith("fc.weight"))
    assert re.fullmatch(r"\s+fc\.weight\s+1000 x 96\s+96,000\s+head\s+layer\.\d+\s+head", line)


def test_what_has_no_parameters_cannot_list_them(make_run, capsys):
    assert invoke(["inspect", str(make_run()), "--names"]) == 2
    assert "no parameters to list of this run" in capsys.readouterr().err


def test_the_page_about_inspect_shows_what_the_command_prints(capsys):
    page = (Path(__file__).parents[2] / "docs" / "inspect.md").read_text(encoding="utf-8")
    block = re.search(r"```\n\$ hftune inspect resnet18\n(.*?)```", page, re.DOTALL)
    assert block is not None
    assert invoke(["inspect", "resnet18"]) == 0
    assert capsys.readouterr().out == block[1]
