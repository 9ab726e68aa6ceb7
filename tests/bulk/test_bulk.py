"""Many images into one file: what goes in, what comes out, and what a kill leaves."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from hftune.bulk import Pictures, Wanted, find_pictures, label_all, pictures_of_dataset
from hftune.cli.main import invoke
from hftune.errors import DataError, RequestError
from hftune.predict import Predictor, load_predictor, predict
from tests.data.squares import write_squares
from tests.finished_numbers import write_finished_numbers

Make = Callable[..., Path]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(7):
        pixels = np.random.default_rng(seed).integers(0, 256, (9, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((80, 70)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture
def predictor(make_run: Make) -> Predictor:
    return load_predictor(make_run(), device="cpu")


def names(pictures: Pictures) -> list[str]:
    return [Path(pictures.name(row)).name for row in range(len(pictures))]


def test_files_folders_patterns_and_tables_come_in_their_order(images: Path) -> None:
    whole = [f"{seed}.png" for seed in range(7)]
    assert names(find_pictures([str(images)])) == whole
    assert names(find_pictures([str(images / "3.png"), str(images / "[01].png")])) == [
        "3.png", "0.png", "1.png"
    ]  # fmt: skip
    table = images / "list.csv"
    table.write_text("file,note\n5.png,a\n2.png,b\n")
    found = find_pictures([str(table)], column="file")
    assert names(found) == ["5.png", "2.png"]
    assert found.read(0).size == (80, 70)


def test_what_is_not_there_is_named(images: Path) -> None:
    with pytest.raises(DataError, match="no file has such a name"):
        find_pictures([str(images / "*.gif")])
    with pytest.raises(DataError, match="no such image"):
        find_pictures([str(images / "9.png")])
    (images / "list.csv").write_text("file\n5.png\n")
    with pytest.raises(DataError, match="there is no column 'image'"):
        find_pictures([str(images / "list.csv")])


def test_a_data_set_is_read_by_its_split(tmp_path: Path) -> None:
    repo = str(write_squares(tmp_path / "squares"))
    found = pictures_of_dataset(repo, split="validation")
    assert len(found) == 6
    assert found.read(5).size == (32, 33)
    with pytest.raises(DataError, match="no split 'test'") as caught:
        pictures_of_dataset(repo, split="test")
    assert "validation" in str(caught.value.allowed)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_every_form_holds_what_predict_says(
    form: str, predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    to = tmp_path / "new" / f"answers.{form}"
    done = label_all(predictor, find_pictures([str(images)]), to, Wanted(top=2), batch_size=3)
    assert (done.path, done.images, done.before, done.bad) == (to, 7, 0, 0)
    assert [path.name for path in to.parent.iterdir()] == [to.name]
    rows = read(to)
    files = sorted(images.iterdir())
    assert [row["path"] for row in rows] == [str(file) for file in files]
    assert {row["error"] for row in rows} == {""}
    for row, prediction in zip(rows, map(predictor_says(predictor), files), strict=True):
        best = list(prediction.scores.items())[:2]
        assert row["labels"] == [prediction.label]
        assert [name for name, _ in row["scores"]] == [name for name, _ in best]
        assert [score for _, score in row["scores"]] == pytest.approx(
            [score for _, score in best], abs=1e-5
        )


def predictor_says(predictor: Predictor) -> Callable[[Path], object]:
    return lambda file: next(predictor.stream([file]))


def read(path: Path) -> list[dict[str, object]]:
    """Give rows of any form with `scores` as pairs."""
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [{**row, "scores": list(row["scores"].items())} for row in rows]
    if path.suffix == ".parquet":
        rows = pyarrow.parquet.read_table(path).to_pylist()
        return [
            {**row, "scores": list(zip(row["top_labels"], row["top_scores"], strict=True))}
            for row in rows
        ]
    with path.open(newline="") as stream:
        return [
            {
                "path": row["path"],
                "labels": row["labels"].split("|"),
                "scores": [(row[f"label_{n}"], float(row[f"score_{n}"])) for n in (1, 2)],
                "error": row["error"],
            }
            for row in csv.DictReader(stream)
        ]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_an_image_without_a_number_has_a_row_with_its_error(
    form: str, images: Path, tmp_path: Path
) -> None:
    (images / "3.png").write_bytes(b"no image")
    predictor = load_predictor(write_finished_numbers(tmp_path / "ages"), device="cpu")
    to = tmp_path / f"answers.{form}"
    label_all(predictor, find_pictures([str(images / "3.png")]), to, Wanted(), skips_bad=True)
    if form == "jsonl":
        row = json.loads(to.read_text())
        assert row["numbers"] == {}
    elif form == "csv":
        (row,) = csv.DictReader(to.read_text().splitlines())
        assert (row["name"], row["number"]) == ("", "")
    else:
        (row,) = pyarrow.parquet.read_table(to).to_pylist()
        assert (row["name"], row["number"]) == (None, None)
    assert "identify" in row["error"]


def test_a_threshold_leaves_images_without_a_label(
    predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    to = tmp_path / "answers.jsonl"
    label_all(predictor, find_pictures([str(images)]), to, Wanted(threshold=1.0))
    assert [row["labels"] for row in read(to)] == [[]] * 7


def test_several_labels_per_image_are_those_above_the_threshold(
    make_run: Make, images: Path, tmp_path: Path
) -> None:
    predictor = load_predictor(make_run(problem="multi_label"), device="cpu")
    to = tmp_path / "answers.jsonl"
    label_all(predictor, find_pictures([str(images)]), to, Wanted(threshold=0.0))
    assert all(len(row["labels"]) == 3 for row in read(to))


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_numbers_are_written_too(form: str, images: Path, tmp_path: Path) -> None:
    run = write_finished_numbers(tmp_path / "ages")
    to = tmp_path / f"answers.{form}"
    predictor = load_predictor(run, device="cpu")
    label_all(predictor, find_pictures([str(images / "1.png")]), to, Wanted())
    (said,) = predict(run, [images / "1.png"])
    if form == "parquet":
        (row,) = pyarrow.parquet.read_table(to).to_pylist()
    elif form == "csv":
        (row,) = csv.DictReader(to.read_text().splitlines())
    else:
        ((name, number),) = json.loads(to.read_text())["numbers"].items()
        row = {"name": name, "number": number}
    assert row["name"] == "age"
    assert float(row["number"]) == pytest.approx(said.score, rel=1e-6)


def stop_after(pictures: Pictures, number: int) -> Pictures:
    """Give pictures of which one is not read: what a kill looks like to the file."""

    def read(row: int) -> Image.Image:
        if row >= number:
            raise KeyboardInterrupt
        return pictures.read(row)

    return Pictures(number=len(pictures), name=pictures.name, read=read)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_the_same_command_goes_on_and_gives_the_same_bytes(
    form: str, predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    pictures, wanted = find_pictures([str(images)]), Wanted(top=2)
    whole, to = tmp_path / f"whole.{form}", tmp_path / f"answers.{form}"
    label_all(predictor, pictures, whole, wanted, batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        label_all(predictor, stop_after(pictures, 5), to, wanted, batch_size=2)
    assert not to.exists()
    part = tmp_path / f".answers.{form}.part"
    with part.open("ab") as stream:  # a line that a kill cut short
        stream.write(b'{"path": "')
    done = label_all(predictor, pictures, to, wanted, batch_size=2)
    assert 0 < done.before < 7
    assert to.read_bytes() == whole.read_bytes()
    assert not part.exists()


def test_an_unfinished_file_of_something_else_is_refused(
    predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    pictures, to = find_pictures([str(images)]), tmp_path / "answers.csv"
    with pytest.raises(KeyboardInterrupt):
        label_all(predictor, stop_after(pictures, 3), to, Wanted(), batch_size=1)
    with pytest.raises(RequestError, match="begun with something else") as caught:
        label_all(predictor, pictures, to, Wanted(top=1), batch_size=1)
    assert caught.value.found == "other options"
    fewer = find_pictures([str(images / "1.png")])
    with pytest.raises(RequestError) as caught:
        label_all(predictor, fewer, to, Wanted(), batch_size=1)
    assert caught.value.found == "other images"


def test_a_bad_image_ends_it_or_has_a_row_with_its_error(
    predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    (images / "3.png").write_bytes(b"no image")
    pictures, to = find_pictures([str(images)]), tmp_path / "answers.csv"
    with pytest.raises(DataError) as caught:
        label_all(predictor, pictures, to, Wanted(), batch_size=2)
    assert "--skip-bad" in str(caught.value.remedy)
    done = label_all(predictor, pictures, to, Wanted(), batch_size=2, skips_bad=True)
    assert (done.images, done.bad) == (7, 1)
    rows = list(csv.DictReader(to.read_text().splitlines()))
    assert [bool(row["error"]) for row in rows] == [False] * 3 + [True] + [False] * 3
    assert rows[3]["labels"] == ""


def test_the_verb_writes_files_and_refuses_what_does_not_fit(
    make_run: Make, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, to = str(make_run()), tmp_path / "answers.csv"
    assert invoke(["predict", run, str(images / "*.png"), "--to", str(to)]) == 0
    assert capsys.readouterr().out == f"{to}: 7 images\n"
    assert len(to.read_text().splitlines()) == 8
    for words, message in (
        (["--to", "answers.txt", str(images)], "no form in which answers can be written"),
        (["--to", "a.csv", "--json", str(images)], "two forms of output"),
        (["--threshold", "0.3", str(images)], "--threshold needs a file to write to"),
        ([], "name files or a --dataset"),
    ):
        assert invoke(["predict", run, *words]) == 2
        assert message in capsys.readouterr().err
