"""Two processes give the mathematics of one, and count every image once."""

import json

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

# The all-reduce adds the same fp32 numbers in another order; nine Adam steps amplify it.
LOSS_TOLERANCE = 1e-4
WEIGHT_TOLERANCE = 1e-3


@pytest.mark.parametrize(("architecture", "model"), [("test_vit", ", drop_rate: 0.1")])
def test_two_processes_equal_one(
    architecture, model, write_recipe, command, launch_two, metrics, tmp_path
):
    recipe = write_recipe(architecture, model)
    one, two = tmp_path / "one", tmp_path / "two"
    done = command("train", recipe, "--output", str(one))
    assert done.code == 0, done.err
    done = launch_two("train", recipe, "--output", str(two))
    assert done.code == 0, done.err

    assert json.loads((two / "plan.json").read_text())["accumulation"] == 1
    for kind in ("train", "eval"):
        ones, twos = metrics(one, kind), metrics(two, kind)
        assert [entry["step"] for entry in ones] == [entry["step"] for entry in twos]
        for mine, other in zip(ones, twos, strict=True):
            assert other["loss"] == pytest.approx(mine["loss"], abs=LOSS_TOLERANCE)
    assert [entry["lr"] for entry in metrics(one, "train")] == [
        entry["lr"] for entry in metrics(two, "train")
    ]
    assert {entry["num_examples"] for entry in metrics(two, "eval")} == {13}
    results = json.loads((two / "results.json").read_text())
    counts = {item["split"]: item["num_examples"] for item in results["evaluations"]}
    assert counts == {"val": 13, "test": 9}
    assert [sum(map(sum, item["confusion"])) for item in results["evaluations"]] == [13, 9]
    mine, other = (
        load_file(next((run / "checkpoints").glob("step-*12")) / "model.safetensors")
        for run in (one, two)
    )
    for name, value in mine.items():
        assert torch.allclose(value, other[name], atol=WEIGHT_TOLERANCE), name
