import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm
from PIL import Image

from hftune.cli.inspect import table_lines
from hftune.cli.main import invoke
from hftune.describe import Description, Table, describe
from hftune.errors import DataError, ModelError, RequestError, RunFolderError
from hftune.export.artifact import build_artifact
from tests.finished_numbers import write_finished_numbers


def table(description: Description, title: str) -> list[dict[str, object]]:
    return next(found for found in description.tables if found.title == title).to_json()


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext"])
def test_an_architectures_stages_hold_all_its_parameters(name):
    description = describe(name)
    module = timm.create_model(name, pretrained=False)
    number = sum(value.numel() for value in module.parameters())
    assert description.kind == "model"
    assert description.facts["parameters"] == number
    rows = table(description, "stages")
    assert sum(row["parameters"] for row in rows) == number
    assert rows[-1]["stage"] == "head"
    assert [row["stage"] for row in rows[:-1]] == [f"stage.{i}" for i in range(len(rows) - 1)]


def test_an_artifact_names_its_classes_head_and_licence(make_run):
    folder = build_artifact(make_run()).folder
    facts = describe(str(folder)).facts
    assert facts["classes"] == "3: bad, good, odd"
    assert facts["head"] == "fc (3 x 96)"
    assert facts["licence"] == "apache-2.0"
    assert str(facts["input"]).startswith("3 x 64 x 64, bicubic")
    assert facts["norm layers"] == "15 BatchNorm2d"


def test_a_finished_run(make_run):
    run = make_run()
    build_artifact(run)
    (run / "pushed.json").write_text(json.dumps({"repo_id": "me/tiny", "commit": "abc"}))
    description = describe(str(run))
    assert description.kind == "run"
    facts = description.facts
    assert facts["state"] == "finished after 40 steps"
    assert facts["images"] == "train 120, val 30, test 30"
    assert facts["start"] == "timm/test_resnet.r160_in1k"
    assert facts["pushed"] == "me/tiny at commit abc"
    rows = table(description, "results")
    assert [row["split"] for row in rows] == ["val", "test"]
    assert rows[0]["accuracy"] == 0.8


def test_a_run_under_way(make_run):
    run = make_run()
    (run / "results.json").unlink()
    assert describe(str(run)).facts["state"] == "begun, no checkpoint yet"
    (run / "checkpoints" / "step-00000020").mkdir(parents=True)
    description = describe(str(run))
    assert description.facts["state"] == "not finished; newest checkpoint at step 20"
    assert description.facts["artifact"] == "none yet"
    assert description.tables == ()


def test_a_damaged_run_is_an_error(make_run):
    run = make_run()
    (run / "model.json").write_text("{")
    with pytest.raises(RunFolderError, match="not JSON"):
        describe(str(run))


def test_a_checkpoint(tmp_path):
    folder = tmp_path / "step-00000020"
    folder.mkdir()
    state = {"progress": {"step": 20, "best_value": 0.5, "best_step": None}, "scaler": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "model.safetensors").write_bytes(b"12345678")
    description = describe(str(folder))
    assert description.kind == "checkpoint"
    assert description.facts == {"step": 20, "best value": 0.5}
    assert table(description, "files")[0] == {"file": "model.safetensors", "size": "8 B"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for place, number in (("train/cat", 3), ("train/dog", 2), ("val/cat", 1)):
        folder = tmp_path / "photos" / place
        folder.mkdir(parents=True)
        for position in range(number):
            Image.new("RGB", (9, 9), "red").save(folder / f"{position}.png")
    return tmp_path / "photos"


def test_a_data_folder_counts_classes_and_names_broken_images(photos):
    (photos / "train" / "dog" / "broken.jpg").write_bytes(b"no image at all")
    description = describe(str(photos))
    assert description.kind == "data"
    assert description.facts["images"] == 7
    assert description.facts["splits"] == "train 6, val 1"
    assert description.facts["missing classes"] == "dog in val"
    assert description.facts["cannot be read"] == 1
    assert table(description, "images per class") == [
        {"class": "cat", "train": 3, "val": 1},
        {"class": "dog", "train": 3, "val": 0},
    ]
    broken = table(description, "images that cannot be read")
    assert [row["image"] for row in broken] == ["train/dog/broken.jpg"]


def test_folders_without_images_are_refused(tmp_path):
    (tmp_path / "cats").mkdir()
    with pytest.raises(DataError, match="no images"):
        describe(str(tmp_path))


def test_what_is_nothing_known_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="not clear what this folder is"):
        describe(str(tmp_path / "empty"))
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(RequestError, match="cannot be described"):
        describe(str(tmp_path / "x.txt"))
    with pytest.raises(ModelError, match="no such architecture"):
        describe("resnet5000")


def test_numbers_stand_right_and_text_left():
    made = Table(title="t", columns=("name", "count"), rows=(("a", 5), ("long", 1200), ("b", None)))
    assert table_lines(made) == ["name  count", "a         5", "long  1,200", "b         -"]
    assert table_lines(Table(title="t", columns=("a", "b"), rows=())) == ["a  b"]


def test_the_verb_prints_text_and_json(make_run, capsys):
    run = str(make_run())
    assert invoke(["inspect", run]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"run {run}\n")
    assert "\nresults\n" in out
    assert invoke(["inspect", run, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["kind"] == "run"
    assert values["tables"]["results"][1]["split"] == "test"


def test_a_run_is_described_without_torch(make_run):
    code = (
        "import sys\nfrom hftune.describe import describe\ndescribe(sys.argv[1])\n"
        "assert not {'torch', 'timm', 'datasets'} & set(sys.modules)"
    )
    line = [sys.executable, "-c", code, str(make_run())]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_run_of_numbers_shows_its_targets_in_place_of_classes(tmp_path):
    description = describe(str(write_finished_numbers(tmp_path / "ages")))
    assert description.facts["number"] == "age"
    assert "classes" not in description.facts
    assert table(description, "targets")[0] == {
        "split": "train", "min": 18.0, "mean": 41.5, "max": 90.0, "sd": 12.25
    }  # fmt: skip
    assert table(description, "results")[1]["mae"] == 4.5


def test_a_table_shows_which_columns_hold_numbers(tmp_path):
    path = tmp_path / "ages.csv"
    path.write_text("image,age,note\na.png,1,x\nb.png,2,\nc.png,3,7\n", encoding="utf-8")
    description = describe(str(path))
    assert description.kind == "table"
    assert description.facts == {"rows": 3, "columns": 3}
    image, age, note = table(description, "columns")
    assert (image["distinct"], image["mean"]) == (3, None)
    # deviations -1, 0, 1
    assert (age["min"], age["mean"], age["max"]) == (1, 2, 3)
    assert age["sd"] == pytest.approx((2 / 3) ** 0.5)
    assert (note["empty"], note["mean"]) == (1, None)


def test_a_damaged_table_is_one_error(tmp_path):
    (tmp_path / "ages.parquet").write_text("no table")
    with pytest.raises(DataError, match="cannot be read"):
        describe(str(tmp_path / "ages.parquet"))
