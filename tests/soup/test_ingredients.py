"""What may go into one soup, and what is said where it may not."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from hftune.errors import RequestError, RunFolderError
from hftune.soup.ingredients import open_ingredients


def change(run, file, **values):
    content = json.loads((run / file).read_text())
    (run / file).write_text(json.dumps(content | values))


@pytest.fixture
def runs(make_run):
    return make_run("one"), make_run("two")


def test_runs_that_fit_are_opened_in_their_order(runs):
    one, two = open_ingredients(runs)
    assert (one.name, two.name) == ("one", "two")
    assert one.step == 30
    assert one.digest == two.digest  # the same weights: test runs start from one seed
    assert one.weights == runs[0] / "best" / "model.safetensors"


@pytest.mark.parametrize("number", [0, 1])
def test_one_is_no_soup(runs, number):
    with pytest.raises(RequestError, match="needs two ingredients"):
        open_ingredients(runs[:number])


def test_the_same_run_twice_is_a_slip(runs):
    with pytest.raises(RequestError, match="named twice") as caught:
        open_ingredients([runs[0], runs[1], runs[0] / ".." / "one"])
    assert caught.value.found == str(runs[0])


def test_what_is_no_run_is_named(runs, tmp_path):
    with pytest.raises(RunFolderError, match="neither a run nor a checkpoint"):
        open_ingredients([runs[0], tmp_path])


def test_an_unfinished_run_is_refused(runs):
    (runs[1] / "results.json").unlink()
    with pytest.raises(RunFolderError, match=r"no results\.json"):
        open_ingredients(runs)


def test_runs_of_one_name_are_told_apart_without_their_folders(runs, tmp_path):
    twin = tmp_path / "elsewhere" / "one"
    shutil.copytree(runs[0], twin)
    assert [one.name for one in open_ingredients([runs[0], twin])] == ["one", "one (2)"]


def test_every_difference_of_every_ingredient_is_said(make_run):
    first = make_run("first")
    classes = make_run("classes", labels=("bad", "good"))
    other = make_run("other")
    base = json.loads((other / "model.json").read_text())["base"]
    change(other, "model.json", architecture="test_vit", base=base | {"commit": "f" * 40})
    data = json.loads((other / "data.json").read_text())["splits"]
    data["val"]["digest"] = "changed"
    change(other, "data.json", splits=data)
    recipe = json.loads((other / "recipe.yaml").read_text())
    (other / "recipe.yaml").write_text(json.dumps(recipe | {"eval": {"best": "loss"}}))
    with pytest.raises(RequestError) as caught:
        open_ingredients([first, classes, other])
    lines = caught.value.found.splitlines()
    assert lines == [
        "classes: classes bad, good, not bad, good, odd as in first",
        "other: architecture test_vit, not test_resnet as in first",
        f"other: backbone {base['hub_id']} at {'f' * 40}, not {base['hub_id']} at "
        f"{base['commit']} as in first",
        "other: data train train, val changed, test test, not train train, val val, test test "
        "as in first",
        "other: metric loss, not accuracy as in first",
    ]


def test_dropout_may_differ(runs):
    model = json.loads((runs[1] / "model.json").read_text())
    change(runs[1], "model.json", model_args=model["model_args"] | {"drop_path_rate": 0.3})
    assert len(open_ingredients(runs)) == 2


def test_another_head_is_told_by_its_tensors(runs):
    path = runs[1] / "best" / "model.safetensors"
    tensors = load_file(path)
    tensors["fc.weight"] = tensors["fc.weight"][:2].clone()
    del tensors["fc.bias"]
    save_file(tensors, path)
    with pytest.raises(RequestError) as caught:
        open_ingredients(runs)
    assert sorted(caught.value.found.partition("missing: ")[2].split(", ")) == [
        "fc.bias",
        "fc.weight",
    ]
