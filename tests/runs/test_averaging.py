"""Averaged weights through the real command line: killed, on two processes, and in a soup."""

import json
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from tests.runs.conftest import RECIPE

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


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory, images, command):
    """Three short runs from one start, at different rates."""
    root = tmp_path_factory.mktemp("soup")
    text = RECIPE.format(architecture="test_resnet", images=images, model="")
    (root / "small.yaml").write_text(text)
    runs = []
    for name, lr in (("slow", "3e-4"), ("middle", "1e-3"), ("fast", "3e-3")):
        runs.append(root / name)
        done = command("train", str(root / "small.yaml"), f"run={name}", f"optim.lr={lr}",
                       "--output", str(runs[-1]))  # fmt: skip
        assert done.code == 0, done.err
    return runs


def test_a_soup_is_a_run_from_which_everything_works(
    three_runs, command, images, local_hub, tmp_path
):
    to = tmp_path / "soup"
    done = command("soup", *map(str, three_runs), "--greedy", "--to", str(to), "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    soup, results = said["soup"], said["results"]
    singles = {one["name"]: one["value"] for one in soup["ingredients"]}
    assert list(singles) == ["slow", "middle", "fast"]
    for name, run in zip(singles, three_runs, strict=True):
        own = json.loads((run / "results.json").read_text())
        assert singles[name] == own["best_value"]
    assert soup["value"] >= max(singles.values())  # never worse than the best single one
    assert singles[soup["members"][0]] == max(singles.values())
    assert results["best_value"] == soup["value"]
    validation, test = results["evaluations"]
    assert validation["values"]["accuracy"] == soup["value"]
    assert (validation["num_examples"], test["num_examples"]) == (13, 9)

    done = command("eval", str(to), "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["values"] == pytest.approx(test["values"])
    done = command("export", str(to))
    assert done.code == 0, done.err
    card = (to / "artifact" / "README.md").read_text()
    if len(soup["members"]) > 1:
        assert f"mean of {len(soup['members'])} models, chosen from 3 (greedy)" in card
    published = json.loads((to / "artifact" / "hftune" / "run.json").read_text())
    assert published["soup"]["members"] == soup["members"]
    assert str(tmp_path) not in json.dumps(published)
    image = next((images / "test" / "dark").glob("*.png"))
    assert command("predict", str(to), str(image)).code == 0
    client = local_hub.environment | {"HF_HOME": str(tmp_path / "hf")}
    done = command("push", str(to), "local/soup", **client)
    assert done.code == 0, done.err
    done = command("eval", "local/soup", "--probe", "--json", **client)
    assert done.code == 0, done.err
    done = command("reproduce", "local/soup", **client)
    assert done.code == 2
    assert "a soup is made of several runs" in done.err

    done = command("train", str(to / "recipe.yaml"), "--output", str(to))
    assert done.code == 2
    assert "a soup of finished runs" in done.err
    done = command("soup", *map(str, three_runs), "--to", str(to))
    assert done.code == 2
    assert "is not empty" in done.err


def test_two_processes_cook_the_same_soup(three_runs, command, launch_two, tmp_path):
    words = ["soup", *map(str, three_runs), "--greedy", "--json", "--to"]
    alone = command(*words, str(tmp_path / "alone"))
    assert alone.code == 0, alone.err
    together = launch_two(*words, str(tmp_path / "together"))
    assert together.code == 0, together.err
    one, two = (json.loads(done.out)["soup"] for done in (alone, together))
    assert one["members"] == two["members"]
    weights = [load_file(tmp_path / name / "best" / "model.safetensors")
               for name in ("alone", "together")]  # fmt: skip
    assert all(torch.equal(weights[0][name], tensor) for name, tensor in weights[1].items())


def test_checkpoints_of_one_run_make_a_soup(three_runs, command, tmp_path):
    run = three_runs[1]
    paths = sorted((run / "checkpoints").glob("step-*"))
    to = tmp_path / "of-checkpoints"
    done = command("soup", str(run), *map(str, paths), "--uniform", "--to", str(to))
    assert done.code == 0, done.err
    assert f"middle/{paths[0].name}" in done.out
    assert (to / "soup.json").is_file()
