"""Fair twins through the real command line: trained once, judged image by image, on any ranks."""

import json
from pathlib import Path

import pytest

from hftune.train.predictions import predictions_file

pytestmark = pytest.mark.slow

# A small rate: the arms are to be wrong about some images.
SHORT = ("train.length=2 epochs", "optim.lr=1e-4")


@pytest.fixture
def arms(write_recipe, tmp_path):
    """Two recipes: everything trains, and only the head."""
    base = tmp_path / "all.yaml"
    text = (tmp_path / write_recipe()).read_text().replace("run: small", "run: all")
    base.write_text(text)
    head = tmp_path / "head.yaml"
    head.write_text("base: all.yaml\nrun: head\nunfreeze: [{at: 0%, train: [head]}]\n")
    return [str(base), str(head)]


def states(folder):
    """Give when each file of the runs was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*-seed*/**/*")}


def test_arms_are_trained_once_and_compared_as_often_as_asked(arms, command, tmp_path):
    output = tmp_path / "twins"
    words = ["compare", *arms, *SHORT, "--seeds", "2", "--output", str(output)]
    done = command(*words, "--json", "hub.push_to=org/nowhere")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found == json.loads((output / "comparison.json").read_text())
    assert sorted(path.name for path in output.iterdir()) == [
        *("all-seed0", "all-seed1", "comparison.json", "comparison.md", "comparison.png"),
        *("head-seed0", "head-seed1"),
    ]
    assert (found["metric"], found["split"], found["num_images"]) == ("accuracy", "test", 9)
    for arm in found["arms"]:
        for seed, value in enumerate(arm["values"]):
            results = json.loads((output / f"{arm['name']}-seed{seed}/results.json").read_text())
            (test,) = [item for item in results["evaluations"] if item["split"] == "test"]
            assert value == pytest.approx(test["values"]["accuracy"])
    (pair,) = found["pairs"]
    for counts in pair["answered"]["seeds"]:
        assert sum(counts[key] for key in ("both", "only_first", "only_second", "neither")) == 9

    before = states(output)
    again = command(*words)
    assert again.code == 0, again.err
    assert states(output) == before
    assert json.loads((output / "comparison.json").read_text()) == found
    assert "`all` - `head`" in again.out

    # A run made by a version that kept no answers is asked again, and gives the same ones.
    predictions_file(output / "all-seed1", "test").unlink()
    healed = command(*words)
    assert healed.code == 0, healed.err
    assert json.loads((output / "comparison.json").read_text()) == found


def test_what_is_wrong_is_said_before_anything_is_trained(arms, command, tmp_path):
    output = tmp_path / "twins"
    # The second arm's plan fails: found before the first has trained.
    second = Path(arms[1])
    second.write_text(second.read_text() + "train: {micro_batch_size: 3}\n")
    done = command("compare", *arms, *SHORT, "--output", str(output))
    assert done.code == 2
    assert "does not divide" in done.err
    assert not output.exists()


@pytest.mark.chaos
def test_two_processes_compare_as_one_does(arms, command, launch_two, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    words = ["compare", *arms, *SHORT, "--seeds", "1", "--json"]
    done = command(*words, "--output", str(one))
    assert done.code == 0, done.err
    done = launch_two(*words, "--output", str(two))
    assert done.code == 0, done.err
    single, double = (json.loads((path / "comparison.json").read_text()) for path in (one, two))
    assert json.loads(done.out) == double
    for mine, other in zip(single["arms"], double["arms"], strict=True):
        assert other["values"] == pytest.approx(mine["values"])
        assert other["num_trainable"] == mine["num_trainable"]
