"""A recipe's phases, groups and parameters, as inspect shows them without weights or data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm

from hftune.cli.main import invoke
from hftune.describe import Description, describe
from hftune.errors import ModelError, PlanError, RequestError

RECIPE = """\
run: seen
model: {architecture: test_resnet, pretrained: false}
data: {source: {name: image_folder, path: ./nowhere}}
optim: {lr: 1e-3, weight_decay: 0.1, rates: {head: 3x}}
unfreeze:
  - {at: 0%, train: [head]}
  - {at: 2 epochs, train: [head, stage.-1], lr_factor: 0.5, warmup: 10 steps}
  - {at: 50%, train: [all]}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "seen.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return str(path)


def rows(description: Description, title: str) -> list[dict[str, object]]:
    return next(found for found in description.tables if found.title == title).to_json()


def test_each_phase_with_what_trains_its_factor_and_its_warm_up(recipe):
    description = describe(recipe)
    assert description.kind == "recipe"
    total = sum(p.numel() for p in timm.create_model("test_resnet", num_classes=2).parameters())
    assert description.facts["parameters"] == total
    assert "2 classes stand in" in str(description.facts["head"])
    head = 2 * 96 + 2
    first, second, third = rows(description, "phases")
    assert first == {
        "from": "0%",
        "trains": "head",
        "tensors": 2,
        "parameters": head,
        "share": f"{head / total:.1%}",
        "rate factor": 1.0,
        "warm-up": "0%",
    }
    assert (second["from"], second["rate factor"], second["warm-up"]) == (
        "2 epochs",
        0.5,
        "10 steps",
    )
    assert (third["parameters"], third["share"]) == (total, "100.0%")


def test_each_group_has_its_rate_in_that_phase_and_its_decay(recipe):
    groups = rows(describe(recipe), "groups")
    found = {(row["from"], row["group"]): (row["lr"], row["weight decay"]) for row in groups}
    # peak 1e-3, three times that for the head, half of all in the second phase
    assert found["0%", "head"] == (pytest.approx(3e-3), 0.1)
    assert found["0%", "head, no decay"] == (pytest.approx(3e-3), 0.0)
    assert found["2 epochs", "head"] == (pytest.approx(1.5e-3), 0.1)
    assert found["2 epochs", "main"] == (pytest.approx(5e-4), 0.1)
    assert found["50%", "main, no decay"] == (pytest.approx(1e-3), 0.0)
    phases = {row["from"]: row for row in rows(describe(recipe), "phases")}
    for at, phase in phases.items():
        own = [row for row in groups if row["from"] == at]
        for count in ("tensors", "parameters"):
            assert sum(int(str(row[count])) for row in own) == phase[count]


def test_every_parameter_says_in_which_phase_it_trains_and_how_fast(recipe):
    description = describe(recipe)
    assert description.parameters is not None
    listed = {str(row["name"]): row for row in description.parameters.to_json()}
    assert listed.keys() == dict(timm.create_model("test_resnet").named_parameters()).keys()
    stem, head = listed["conv1.0.weight"], listed["fc.weight"]
    flags = [stem[f"trains from {at}"] for at in ("0%", "2 epochs", "50%")]
    assert flags == ["no", "no", "yes"]
    assert [stem[f"lr from {at}"] for at in ("0%", "2 epochs", "50%")] == [None, None, 1e-3]
    assert [head[f"trains from {at}"] for at in ("0%", "2 epochs", "50%")] == ["yes"] * 3
    assert head["weight decay"] == 0.1
    assert listed["fc.bias"]["weight decay"] == 0.0


def test_what_never_trains_is_counted_and_has_no_rate(recipe):
    description = describe(recipe, ["freeze.stages=1", "optim.rates={head: 3x, norm: 0}"])
    assert description.parameters is not None
    listed = {str(row["name"]): row for row in description.parameters.to_json()}
    frozen = [row for row in listed.values() if row["trains from 50%"] == "no"]
    norms = {name for name, row in listed.items() if row["role"] == "norm"}
    stem = {name for name, row in listed.items() if row["stage"] == "stage.0"}
    assert {row["name"] for row in frozen} == norms | stem
    assert all(row["weight decay"] is None for row in frozen)
    count = sum(int(str(row["numbers"])) for row in frozen)
    assert str(description.facts["never trains"]).startswith(f"{count:,} parameters")


def test_the_rate_is_that_of_the_global_batch(recipe):
    words = ["optim.lr_batch_size=16", "train.batch_size=64"]
    description = describe(recipe, words)
    assert description.facts["peak rate"] == "0.004"
    groups = {(row["from"], row["group"]): row["lr"] for row in rows(description, "groups")}
    assert groups["50%", "main"] == pytest.approx(4e-3)


def test_a_length_in_steps_goes_with_phases_in_epochs(recipe):
    description = describe(recipe, ["train.length=400 steps"])
    assert len(rows(description, "phases")) == 3


def test_regression_has_one_output(recipe):
    numbers = "data.source={name: hub_dataset, repo: org/x, image: image, label: age}"
    description = describe(recipe, ["problem=regression", numbers])
    assert description.facts["head"] == "fc (1 x 96)"


@pytest.mark.parametrize(
    ("override", "error"),
    [("freeze.stages=99", PlanError), ("unfreeze=[{at: 0%, train: [stage.77]}]", ModelError)],
)
def test_what_does_not_fit_the_model_is_found_without_data(recipe, override, error):
    with pytest.raises(error):
        describe(recipe, [override])


def test_settings_belong_to_recipes():
    with pytest.raises(RequestError, match="for a recipe only"):
        describe("test_resnet", ["optim.lr=1"])


def test_the_verb_takes_settings_and_prints_json(recipe, capsys):
    assert invoke(["inspect", recipe, "optim.lr=1e-5", "--names", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert list(values["tables"]) == ["parameters"]
    assert values["tables"]["parameters"][0]["lr from 50%"] == pytest.approx(1e-5)
    assert invoke(["inspect", recipe, "optim.lr=1e-5"]) == 0
    out = capsys.readouterr().out
    assert "1e-05" in out
    assert "\nphases\n" in out


def test_a_backbone_that_cannot_be_had_leaves_what_the_recipe_says():
    line = [sys.executable, "-m", "hftune", "inspect", "elpv-lite0-head"]
    done = subprocess.run(
        [*line, "--json"],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert "config of the backbone is not here" in values["facts"]["layers"]
    assert values["tables"]["phases"] == [{"from": "0%", "trains": "head"}]
