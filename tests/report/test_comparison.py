"""Runs side by side: a table with a row per run, and one picture."""

import pytest
from PIL import Image

from hftune.errors import RequestError
from hftune.report.comparison import comparison_table, plot_comparison
from hftune.report.finished import read_several
from tests.finished import write_finished_run


@pytest.fixture
def arms(tmp_path):
    return read_several([write_finished_run(tmp_path / name) for name in ("tuned", "scratch")])


def test_the_table_has_a_row_per_run_and_the_runs_own_numbers(arms):
    lines = comparison_table(arms).splitlines()
    assert lines[0] == "Split: test"
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:])
    assert [row[0] for row in rows] == ["tuned", "scratch"]
    result = arms[0].results.of("test")
    assert rows[0][head.index("accuracy")] == f"{result.values['accuracy']:.4f}"
    assert rows[0][head.index("images")] == str(result.num_examples)


def test_the_picture_is_drawn(arms, tmp_path):
    path = plot_comparison(arms, tmp_path / "comparison.png")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size[0] > 1000
        colours = image.convert("RGB").getcolors(maxcolors=1 << 24)
    assert len(colours) > 50


def test_the_same_run_twice_is_refused(tmp_path):
    run = write_finished_run(tmp_path / "tuned")
    with pytest.raises(RequestError, match="named twice"):
        read_several([run, run])
