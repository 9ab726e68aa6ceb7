"""docs/losses.md and docs/imbalance.md name what there is with its defaults; their code runs."""

import inspect
import re
from pathlib import Path

import pytest

from hftune.data.class_weights import CLASS_WEIGHTS
from hftune.losses import FITS, GIVEN, LOSSES, losses_for
from hftune.recipe import resolve_recipe
from hftune.train.option_check import check_options_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
LOSSES_PAGE = (DOCS / "losses.md").read_text(encoding="utf-8")
IMBALANCE_PAGE = (DOCS / "imbalance.md").read_text(encoding="utf-8")
SECTIONS = {
    "single_label": "## One class per image",
    "multi_label": "## Several classes per image",
    "regression": "## A number per image",
}
RECIPE = """\
run: small
model: {repo: timm/test_resnet.r160_in1k}
"""
SOURCE = "  source: {name: image_folder, path: ./images}\n"


def table(page: str, section: str) -> dict[str, str]:
    """Give the options of every row of a section's tables, by its name."""
    body = page.split(section + "\n", 1)[1].split("\n## ", 1)[0]
    return dict(re.findall(r"^\| `([a-z_0-9]+)` \| .* \| ?(.*) ?\|$", body, re.MULTILINE))


def defaults(function) -> dict[str, object]:
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in GIVEN
    }


def stated(options: str) -> dict[str, str]:
    return dict(re.findall(r"`([a-z_]+)`(?: ([0-9.]+|none))?", options))


def code(language: str) -> list[str]:
    pages = LOSSES_PAGE + IMBALANCE_PAGE
    return re.findall(rf"```{language}\n(.*?)```", pages, re.DOTALL)


@pytest.mark.parametrize("problem", SECTIONS)
def test_every_loss_is_listed_where_it_fits(problem):
    listed = table(LOSSES_PAGE, SECTIONS[problem])
    assert set(listed) == {name for name in FITS if problem in FITS[name]}
    assert set(losses_for(problem)) <= set(listed)


@pytest.mark.parametrize("name", LOSSES)
def test_options_and_defaults_are_those_of_the_function(name):
    expected = {
        option: "none" if default is None else str(default)
        for option, default in defaults(LOSSES[name]).items()
    }
    rows = [table(LOSSES_PAGE, SECTIONS[problem]).get(name) for problem in SECTIONS]
    assert expected in [stated(row) for row in rows if row is not None]


@pytest.mark.parametrize("name", CLASS_WEIGHTS)
def test_class_weights_are_listed(name):
    row = table(IMBALANCE_PAGE, "## Class weights")[name]
    expected = {
        option: "" if default is inspect.Parameter.empty else str(default)
        for option, default in defaults(CLASS_WEIGHTS[name]).items()
    }
    assert stated(row) == expected


@pytest.mark.parametrize("block", code("yaml"))
def test_recipes_on_the_pages_pass(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source in code("python"):
        name = source.splitlines()[0].removeprefix("# ")
        (tmp_path / name).write_text(source)
    body = block.replace("data:\n", "data:\n" + SOURCE) if "data:" in block else block
    body += "" if "data:" in block else "data:\n" + SOURCE
    (tmp_path / "small.yaml").write_text(RECIPE + body)
    check_options_of(resolve_recipe("small.yaml"))


def test_there_are_recipes_on_the_pages():
    assert len(code("yaml")) >= 8
    assert len(code("python")) == 2
