"""The whole text of what a user meets around a finished run, kept as files."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hftune.describe import describe
from hftune.errors import HftuneError
from hftune.export.artifact import build_artifact
from hftune.export.checks import check_folder
from hftune.export.probe import read_probe
from hftune.predict import find_images, predict
from hftune.report.finished import read_finished
from hftune.report.plots import plot_confusion

ERRORS = Path(__file__).parent.parent / "errors" / "publish"
RUN = Path("runs/tiny-run")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand above the runs, so that messages hold short paths."""
    monkeypatch.chdir(tmp_path)


def change_json(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | changes), encoding="utf-8")


def missing_run(make_run: Callable[..., Path]) -> None:
    build_artifact(RUN)


def unfinished_run(make_run: Callable[..., Path]) -> None:
    (make_run() / "results.json").unlink()
    build_artifact(RUN)


def damaged_results(make_run: Callable[..., Path]) -> None:
    (make_run() / "results.json").write_text('{"evaluations": [')
    build_artifact(RUN)


def results_of_another_version(make_run: Callable[..., Path]) -> None:
    change_json(make_run() / "results.json", mood="good")
    build_artifact(RUN)


def classes_of_one_name(make_run: Callable[..., Path]) -> None:
    make_run(labels=("cat", "dog", "cat"))
    build_artifact(RUN)


def several_traps(make_run: Callable[..., Path]) -> None:
    make_run()
    folder = build_artifact(RUN).folder
    change_json(folder / "config.json", label_names=["a", "b"], model_args={"num_classes": 3})
    check_folder(folder)


def damaged_probe(make_run: Callable[..., Path]) -> None:
    Path("probe.safetensors").write_bytes(b"12345678")
    read_probe(Path("probe.safetensors"))


def no_class_names(make_run: Callable[..., Path]) -> None:
    make_run()
    folder = build_artifact(RUN).folder
    change_json(folder / "config.json", label_names=None)
    predict(str(folder), ["x.png"])


def image_that_cannot_be_read(make_run: Callable[..., Path]) -> None:
    make_run()
    Path("photo.jpg").write_bytes(b"no image")
    predict(str(RUN), ["photo.jpg"])


def no_images(make_run: Callable[..., Path]) -> None:
    Path("photos").mkdir()
    find_images([Path("photos")])


def confusion_of_several_labels(make_run: Callable[..., Path]) -> None:
    make_run(problem="multi_label")
    plot_confusion(read_finished(RUN))


def folder_of_nothing_known(make_run: Callable[..., Path]) -> None:
    Path("empty").mkdir()
    describe("empty")


CASES = (
    missing_run,
    unfinished_run,
    damaged_results,
    results_of_another_version,
    classes_of_one_name,
    several_traps,
    damaged_probe,
    no_class_names,
    image_that_cannot_be_read,
    no_images,
    confusion_of_several_labels,
    folder_of_nothing_known,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_text_is_the_one_that_is_kept(case, make_run):
    with pytest.raises(HftuneError) as caught:
        case(make_run)
    kept = ERRORS / f"{case.__name__}.txt"
    assert f"{caught.value}\n" == kept.read_text(encoding="utf-8")


def test_every_kept_text_has_a_case():
    assert {path.stem for path in ERRORS.glob("*.txt")} == {case.__name__ for case in CASES}
