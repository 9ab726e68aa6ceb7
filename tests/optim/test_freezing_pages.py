"""docs/freezing.md and docs/rates.md: their tables are what select gives, their recipes load."""

import re
from pathlib import Path

import pytest
import timm

from hftune.errors import ModelError
from hftune.model.layer_map import map_layers
from hftune.model.select import select
from hftune.recipe import resolve_recipe
from hftune.recipe.selectors import WORDS
from hftune.train.option_check import check_options_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {name: (DOCS / name).read_text(encoding="utf-8") for name in ("freezing.md", "rates.md")}
RECIPE = """\
run: small
model: {repo: timm/test_resnet.r160_in1k}
data:
  source: {name: image_folder, path: ./images}
"""
MODELS = ("resnet18", "vit_tiny_patch16_224")
ROWS = re.findall(r"^\| `(.+)` \| (.+) \| (.+) \|$", PAGES["freezing.md"], re.MULTILINE)
PICKS = [(selector, cells) for selector, *cells in ROWS if not selector.startswith(MODELS)]
CODE = [
    pytest.param(block, id=f"{name}-{number}")
    for name, page in PAGES.items()
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
]


@pytest.fixture(scope="module")
def models():
    made = [timm.create_model(name, num_classes=2) for name in MODELS]
    return [(module, map_layers(module)) for module in made]


@pytest.mark.parametrize(("selector", "cells"), PICKS, ids=[row[0] for row in PICKS])
def test_the_table_says_what_each_selector_picks(models, selector, cells):
    for (module, layers), cell in zip(models, cells, strict=True):
        sizes = {name: value.numel() for name, value in module.named_parameters()}
        try:
            picked = select([selector], layers, sizes)
            found = f"{len(picked)} / {sum(sizes[name] for name in picked):,}".replace(",", " ")
        except ModelError:
            found = "-"
        assert cell == found


def test_the_page_lists_every_word():
    listed = re.findall(r"^\| `([a-z]+)` \| [^|]+ \|$", PAGES["freezing.md"], re.MULTILINE)
    assert set(WORDS) <= set(listed)
    assert len(PICKS) > 12


@pytest.mark.parametrize("block", CODE)
def test_recipes_on_the_pages_pass(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(RECIPE + block)
    check_options_of(resolve_recipe("small.yaml"))


def test_there_are_recipes_on_the_pages():
    assert len(CODE) >= 10
