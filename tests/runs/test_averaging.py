"""Averaged weights through the real command line: killed, and on two processes."""

import json
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

# Nine of twelve steps see the mean: the weights after 3, 6, 9 and 12 steps are its points.
SWA = ("optim.swa.start=3 steps", "optim.swa.every=3 steps")


def best(run):
    return load_file(run / "best" / "model.safetensors")


def average(run):
    return json.loads((run / "average.json").read_text())


def newest(run):
    return max((run / "checkpoints").glob("step-*"))


def unlike(one, other):
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


def kill_after(words, seen):
    """Start a run and kill it as soon as `seen()` holds; fail if it ended before."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hftune", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not seen():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    process.kill()
    process.communicate()


@pytest.mark.chaos
def test_killed_while_it_averages_and_while_it_judges_it_ends_bit_equal(
    write_recipe, command, tmp_path
):
    recipe = write_recipe("test_resnet", ", drop_rate: 0.1")
    undisturbed, run = tmp_path / "undisturbed", tmp_path / "run"
    words = ["train", recipe, "save.every=2 steps", *SWA]
    done = command(*words, "--output", str(undisturbed))
    assert done.code == 0, done.err
    mine = [*words, "--output", str(run)]
    lines = run / "metrics.jsonl"
    for step in (4, 7):
        kill_after(mine, lambda s=step: lines.exists() and f'"step": {s},' in lines.read_text())
    kill_after(mine, lambda: (run / "checkpoints" / "step-00000012").exists())
    done = command(*mine)
    assert done.code == 0, done.err
    assert average(run) == average(undisturbed)
    assert average(run)["points"] == [3, 6, 9, 12]
    for file in ("model.safetensors", "swa.safetensors"):
        pair = (load_file(newest(folder) / file) for folder in (run, undisturbed))
        assert unlike(*pair) == []
    assert unlike(best(run), best(undisturbed)) == []
    assert lines.read_text().count('"average"') == 1
    results = json.loads((run / "results.json").read_text())
    assert results == json.loads((undisturbed / "results.json").read_text()) | {
        name: results[name] for name in ("seconds", "images_per_second")
    }


@pytest.mark.chaos
def test_two_processes_average_as_one(write_recipe, command, launch_two, metrics, tmp_path):
    """Only the head trains, and all statistics are live: both ranks share the pass for them."""
    recipe = write_recipe("test_resnet")
    one, two = tmp_path / "one", tmp_path / "two"
    words = ["train", recipe, *SWA, "freeze.batch_norm=train", "unfreeze=[{train: [head]}]"]
    for launch, run in ((command, one), (launch_two, two)):
        done = launch(*words, "--output", str(run))
        assert done.code == 0, done.err
    (mine,), (other,) = metrics(one, "average"), metrics(two, "average")
    assert (mine["points"], mine["num_examples"]) == (other["points"], other["num_examples"])
    assert other["loss"] == pytest.approx(mine["loss"], abs=1e-3)
    means = [load_file(newest(run) / "swa.safetensors") for run in (one, two)]
    for name, value in means[0].items():
        torch.testing.assert_close(means[1][name], value, rtol=0, atol=1e-3)
