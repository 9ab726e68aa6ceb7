"""What a known architecture tells about a recipe before anything is downloaded."""

import pytest

from hftune.errors import RecipeError
from hftune.recipe import resolve_recipe
from hftune.train.layer_check import unfit_layers
from hftune.train.option_check import check_options_of

BASE = """\
run: layers
model: {repo: timm/resnet18.tv_in1k}
data: {source: {name: image_folder, path: images}}
"""


def findings(tmp_path, *words):
    path = tmp_path / "layers.yaml"
    path.write_text(BASE)
    return dict(unfit_layers(resolve_recipe(str(path), list(words)).recipe))


def test_a_sound_recipe_has_none(tmp_path):
    words = ["optim.layer_decay=0.8", "freeze.stages=2", "optim.rates={stage.-1: 2x, head: 1e-2}"]
    assert findings(tmp_path, *words) == {}


def test_every_selector_that_fits_nothing_is_named_at_once(tmp_path):
    found = findings(
        tmp_path,
        "freeze.layers=['name:layer9.*']",
        "optim.rates={stage.7: 2x}",
        "unfreeze=[{at: 0%, train: [head]}, {at: 50%, train: [layer.99, 'not name:conv9']}]",
    )
    assert list(found) == [
        ("freeze", "layers", 0),
        ("unfreeze", 1, "train", 0),
        ("unfreeze", 1, "train", 1),
        ("optim", "rates", "stage.7"),
    ]
    assert "close names: layer" in found["freeze", "layers", 0]
    assert "stage.0 to stage.4" in found["optim", "rates", "stage.7"]


@pytest.mark.parametrize(
    ("words", "path", "text"),
    [
        (["freeze.stages=9"], ("freeze", "stages"), "more stages"),
        (
            ["freeze.stages=3", "unfreeze=[{at: 0%, train: ['name:layer1']}]"],
            ("unfreeze", 0, "train"),
            "frozen for good",
        ),
        (
            ["freeze.stages=2", "optim.rates={'name:conv1': 1e-4}"],
            ("optim", "rates", "name:conv1"),
            "never trains and is given a rate",
        ),
    ],
)
def test_contradictions_that_only_layers_show(words, path, text, tmp_path):
    (found,) = findings(tmp_path, *words).items()
    assert found[0] == path
    assert text in found[1]


@pytest.mark.parametrize("repo", ["my-org/resnet18", "./resnet18", "timm/of_tomorrow.v9"])
def test_an_unknown_structure_waits_for_its_config(repo, tmp_path):
    assert findings(tmp_path, f"model.repo={repo}", "freeze.stages=99") == {}


def test_layers_are_reported_with_all_other_problems(tmp_path):
    path = tmp_path / "layers.yaml"
    path.write_text(BASE + "freeze: {stages: 9}\nloss: focl\n")
    with pytest.raises(RecipeError) as caught:
        check_options_of(resolve_recipe(str(path)))
    assert [problem.setting for problem in caught.value.problems] == ["freeze.stages", "loss.name"]
    assert "Nothing was downloaded or written" in str(caught.value)
