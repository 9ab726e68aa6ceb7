"""Galleries of a run with its data: what the model saw, heat maps, or what stands for them."""

import base64
import importlib.util
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hftune.report import heat
from hftune.report.finished import read_finished
from hftune.report.overlay import brightest_place, legend_colors, overlaid, picture_of
from hftune.report.page.images import image_sections

has_heat = pytest.mark.skipif(
    importlib.util.find_spec("torchcam") is None, reason="torchcam is not installed"
)


Make = Callable[..., Path]


def titles(sections: list[str]) -> list[str]:
    return [found for one in sections for found in re.findall("<h2>(.*?)</h2>", one)]


@has_heat
def test_errors_have_a_map_for_the_given_and_for_the_true_class(make_seeing_run: Make) -> None:
    run = make_seeing_run()
    sections = image_sections(read_finished(run))
    assert titles(sections) == ["Worst errors", "Surest right answers", "What the model is fed"]
    errors, right, _ = sections
    assert "Grad-CAM, layer layer4, 2 x 2 places" in errors
    cards = re.findall('<li class="card">.*?</li>', errors)
    assert cards
    for card in cards:
        given, true = re.search(r"<span>(\w+) [\d.]+%</span><span>is (\w+)</span>", card).groups()
        assert re.findall(r"Heat map for (\w+): brightest", card) == [given, true]
    assert all(one.count("Heat map") == 1 for one in re.findall('<li class="card">.*?</li>', right))


@has_heat
@pytest.mark.parametrize(
    ("problem", "surest", "asked"),
    [
        ("multi_label", "Surest right labels", {"bad", "good", "odd"}),
        ("regression", "Closest answers", {"more age"}),
    ],
)
def test_labels_and_numbers_have_a_map_each(
    problem: str, surest: str, asked: set[str], make_seeing_run: Make
) -> None:
    sections = image_sections(read_finished(make_seeing_run(problem)))
    assert titles(sections) == ["Worst errors", surest, "What the model is fed"]
    for card in re.findall('<li class="card">.*?</li>', "".join(sections[:2])):
        (name,) = re.findall("Heat map for (.*?): brightest", card)
        assert name in asked


def test_pictures_are_bounded_and_are_what_the_model_saw(make_seeing_run: Make) -> None:
    run = make_seeing_run()
    sections = image_sections(read_finished(run))
    for encoded in re.findall(r"base64,([^\"]+)", "".join(sections)):
        content = base64.b64decode(encoded)
        assert len(content) < 40_000
        with Image.open(io.BytesIO(content)) as image:
            assert image.size == (224, 224)


def test_without_the_library_the_page_says_what_to_install(
    make_seeing_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_seeing_run()
    monkeypatch.setattr(heat, "find_spec", lambda _name: None)
    errors, *_ = image_sections(read_finished(run))
    assert "With heat maps: pip install &#x27;hftune[report]&#x27;" in errors
    assert "<img" in errors
    assert "Heat map for" not in errors


@has_heat
def test_weights_that_are_gone_are_said_so(make_seeing_run: Make) -> None:
    run = make_seeing_run()
    (run / "best" / "model.safetensors").unlink()
    errors, *_ = image_sections(read_finished(run))
    assert "There are no heat maps: " in errors
    assert "<img" in errors


def test_an_overlay_is_bright_where_the_map_is_and_dark_without_one() -> None:
    image = picture_of(torch.full((3, 16, 32), 128, dtype=torch.uint8))
    assert image.size == (224, 112)
    lit = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    array = np.asarray(overlaid(image, lit, most=2.0), dtype=float).mean(-1)
    assert array[90:, 190:].mean() > 2 * array[:20, :60].mean()
    dark = np.asarray(overlaid(image, torch.zeros(2, 3), most=0.0), dtype=float).mean(-1)
    assert np.ptp(dark) == 0
    assert brightest_place(lit) == "lower right"
    assert brightest_place(torch.zeros(2, 3)) == "nowhere"
    assert len(set(legend_colors())) == 9
