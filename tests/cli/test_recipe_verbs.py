"""`hftune recipe ...`: what is printed, as text and as JSON."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hftune.cli.recipe import app
from hftune.errors import RecipeError, RequestError
from hftune.recipe import load_recipe
from hftune.recipe.show import to_dict

RECIPE = """\
run: small
model: {repo: timm/test_resnet.r160_in1k}
data: {source: {name: image_folder, path: ./images}}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(RECIPE)


def printed(*words: str) -> str:
    """Run one verb and give what it prints on stdout; its errors come through."""
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    return result.stdout


def printed_json(*words: str) -> Any:
    return json.loads(printed(*words, "--json"))


def test_show_prints_yaml_that_reads_back() -> None:
    Path("again.yaml").write_text(printed("show", "small.yaml", "optim.lr=3e-4"))
    assert load_recipe("again.yaml") == load_recipe("small.yaml", ["optim.lr=3e-4"])


def test_show_as_json_gives_every_setting() -> None:
    assert printed_json("show", "small.yaml") == to_dict(load_recipe("small.yaml"))


def test_show_origin_prints_what_set_each_value() -> None:
    lines = printed("show", "small.yaml", "optim.lr=3e-4", "--origin").splitlines()
    found = [line.split() for line in lines]
    assert ["run", "small", "small.yaml:1"] in found
    assert ["optim.lr", "0.0003", "override"] in found
    assert ["hub.push_to", "null", "default"] in found
    rows = printed_json("show", "small.yaml", "--origin")
    assert {"setting": "run", "value": "small", "origin": "small.yaml:1"} in rows


def test_show_origin_of_a_wrong_recipe_prints_what_is_given_and_then_why() -> None:
    Path("wrong.yaml").write_text(RECIPE + "optm: {lr: 3}\n")
    result = CliRunner().invoke(app, ["show", "wrong.yaml", "--origin"])
    assert ["optm.lr", "3", "wrong.yaml:4"] in [line.split() for line in result.stdout.splitlines()]
    assert isinstance(result.exception, RecipeError)
    assert result.exception.problems[0].setting == "optm"


def test_check_says_ok() -> None:
    assert printed("check", "small.yaml") == "small.yaml: OK (run 'small')\n"
    assert printed_json("check", "small.yaml") == {
        "recipe": "small.yaml",
        "run": "small",
        "problems": [],
    }


def test_check_reports_wrong_options() -> None:
    with pytest.raises(RecipeError, match="1 problem in small"):
        printed("check", "small.yaml", "loss={name: focal, gamma: -1}")


def test_diff_prints_both_values() -> None:
    Path("other.yaml").write_text("base: small.yaml\nrun: other\nloss: {name: focal, gamma: 3}\n")
    assert printed("diff", "small.yaml", "other.yaml").splitlines() == [
        'run         "small" -> "other"',
        'loss.name   null -> "focal"',
        "loss.gamma  null -> 3",
    ]
    assert printed("diff", "small.yaml", "small.yaml") == "no setting differs\n"
    assert {"setting": "loss.gamma", "old": None, "new": 3} in printed_json(
        "diff", "small.yaml", "other.yaml"
    )


def test_schema_is_json() -> None:
    assert json.loads(printed("schema"))["title"] == "hftune recipe"


def test_ls_names_each_shipped_recipe() -> None:
    names = [line.split()[0] for line in printed("ls").splitlines()]
    assert names == [recipe["name"] for recipe in printed_json("ls")]
    assert "elpv-lite0" in names


def test_copy_puts_the_recipe_and_its_bases_below_a_folder() -> None:
    lines = printed("copy", "elpv-lite0-head", "mine").splitlines()
    assert lines[-1] == "mine/examples/elpv-lite0-head.yaml"
    assert load_recipe(lines[-1]) == load_recipe("elpv-lite0-head")
    with pytest.raises(RequestError, match="no recipe called 'elpv'"):
        printed("copy", "elpv")


@pytest.mark.parametrize("verb", [["show", "small.yaml", "--origin"], ["schema"], ["ls"]])
def test_a_fresh_interpreter_does_not_import_torch(verb: list[str]) -> None:
    script = (
        "import sys\n"
        "from hftune.cli.recipe import app\n"
        f"app({verb!r}, standalone_mode=False)\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)
