import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from hftune.cli.main import invoke
from tests.finished_numbers import write_finished_numbers


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, color in (("red", "red"), ("blue", "blue")):
        Image.new("RGB", (80, 80), color).save(folder / f"{name}.png")
    return folder


def test_a_line_per_image_with_its_best_classes(make_run, images, capsys):
    assert invoke(["predict", str(make_run()), str(images), "--top", "2"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out] == [str(images / "blue.png"), str(images / "red.png")]
    for line in out:
        assert line.count("%") == 2
        assert line.count("*") == 1


def test_json_lines(make_run, images, capsys):
    assert invoke(["predict", str(make_run()), str(images / "red.png"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["path"] == str(images / "red.png")
    assert answer["labels"] == [next(iter(answer["scores"]))]
    assert set(answer["scores"]) == {"bad", "good", "odd"}


def test_csv(make_run, images, capsys):
    assert invoke(["predict", str(make_run()), str(images), "--csv", "--top", "1"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["rank"] for row in rows] == ["1", "1"]
    assert {row["label"] for row in rows} <= {"bad", "good", "odd"}


def test_numbers_as_lines_json_and_csv(images, tmp_path, capsys):
    run, image = str(write_finished_numbers(tmp_path / "ages")), str(images / "red.png")
    assert invoke(["predict", run, image, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    number = answer["numbers"]["age"]
    assert answer == {"path": image, "numbers": {"age": number}}
    assert invoke(["predict", run, image, "--csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row == {"path": image, "name": "age", "number": str(number)}
    assert invoke(["predict", run, image]) == 0
    assert capsys.readouterr().out.split() == [image, "age", f"{number:.4g}"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "--csv"], "two forms of output"),
        (["nothing.png"], "no such image"),
        (["--device", "warp"], "device cannot be used"),
    ],
)
def test_a_wrong_request_is_one_message(make_run, images, capsys, arguments, message):
    code = invoke(["predict", str(make_run()), str(images), *arguments])
    told = capsys.readouterr()
    assert code == (3 if "device" in message else 2)
    assert message in told.err
    assert told.out == ""


def test_a_folder_that_holds_no_model(images, capsys):
    assert invoke(["predict", str(images), str(images)]) == 2
    assert "no timm model" in capsys.readouterr().err
