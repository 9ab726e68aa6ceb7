"""A soup through the real command line: judged, packaged, pushed, and cooked by two processes."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.runs.conftest import RECIPE

pytestmark = pytest.mark.slow


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
    client = local_hub.environment | {"HF_HOME": str(tmp_path / "hf")}
    done = command("push", str(to), "local/soup", **client)
    assert done.code == 0, done.err
    card = (to / "artifact" / "README.md").read_text()
    if len(soup["members"]) > 1:
        assert f"mean of {len(soup['members'])} models, chosen from 3 (greedy)" in card
    published = json.loads((to / "artifact" / "hftune" / "run.json").read_text())
    assert published["soup"]["members"] == soup["members"]
    assert str(tmp_path) not in json.dumps(published)
    image = next((images / "test" / "dark").glob("*.png"))
    assert command("predict", str(to), str(image)).code == 0
    done = command("eval", "local/soup", "--probe", "--json", **client)
    assert done.code == 0, done.err

    done = command("train", str(to / "recipe.yaml"), "--output", str(to))
    assert done.code == 2
    assert "a soup of finished runs" in done.err
    done = command("soup", *map(str, three_runs), "--to", str(to))
    assert done.code == 2
    assert "is not empty" in done.err


@pytest.mark.chaos
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
