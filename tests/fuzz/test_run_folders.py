"""A run whose records were damaged: every verb works, or ends in one error that names the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hftune.cli.push import choose_target, read_recipe
from hftune.describe import describe
from hftune.export.artifact import build_artifact
from hftune.files import write_json
from hftune.judge import judge_thing
from hftune.predict import predict
from hftune.recipe import Recipe, load_recipe
from hftune.report.comparison import comparison_table
from hftune.report.finished import read_several
from hftune.train.best import best_weights, read_best_step
from hftune.train.run_folder import check_run_folder
from tests.finished import draw_class_images, write_finished_run
from tests.fuzz.damage import damaged, damaged_json
from tests.fuzz.outcome import content_of, error_of

RECORDS = [
    *("model.json", "data.json", "results.json", "environment.json", "pins.json", "recipe.yaml"),
    *("metrics.jsonl", "best/state.json", "best/model.safetensors"),
]
Verbs = dict[str, Callable[[Path], object]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished run with the images that its recipe names, beside the working directory."""
    place = tmp_path_factory.mktemp("runs")
    draw_class_images(place / "images")
    folder = write_finished_run(place / "run")
    recipe = json.loads((folder / "recipe.yaml").read_text())
    recipe["data"] |= {"workers": 0, "audit": {"leaks": "off"}}
    write_json(folder / "recipe.yaml", recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        yield folder


@pytest.fixture(scope="module")
def own(run: Path) -> Recipe:
    return load_recipe(run / "recipe.yaml")


def quick_verbs(own: Recipe) -> Verbs:
    """What is read by inspect, report, soup and a run that goes on, in milliseconds each."""
    return {
        "inspect": lambda run: describe(str(run)).to_json(),
        "report": lambda run: comparison_table(read_several([run])),
        "train": lambda run: check_run_folder(run, own),
        "best": lambda run: (best_weights(run), read_best_step(run)),
        "push": lambda run: choose_target(read_recipe(run), "o/x", private=None, revision=None),
    }


SLOWER_VERBS: Verbs = {
    "predict": lambda run: predict(run, ["images/bad/0.png"]),
    "export": build_artifact,
    "eval": lambda run: judge_thing(str(run)),
}


def spoil(path: Path, seed: int) -> None:
    """Damage a record: two times of three its values, else its bytes."""
    content = path.read_bytes()
    if seed % 3 == 0 or path.suffix == ".safetensors":
        path.write_bytes(damaged(content, seed))
    elif path.suffix == ".jsonl":
        lines = content.decode().splitlines()
        place = seed % len(lines)
        lines[place] = json.dumps(damaged_json(json.loads(lines[place]), seed))
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text(json.dumps(damaged_json(json.loads(content), seed)))


def check(run: Path, name: str, seeds: range, verbs: Verbs) -> None:
    path = run / name
    good = path.read_bytes()
    try:
        for seed in seeds:
            spoil(path, seed)
            for call in verbs.values():
                error_of(lambda call=call: call(run))
            path.write_bytes(good)
    finally:
        path.write_bytes(good)


@pytest.mark.parametrize("name", RECORDS)
def test_records_of_another_kind(run: Path, own: Recipe, name: str) -> None:
    check(run, name, range(9), quick_verbs(own))


@pytest.mark.parametrize("name", RECORDS)
def test_a_damaged_record_before_the_slower_verbs(run: Path, name: str) -> None:
    check(run, name, range(2), SLOWER_VERBS)


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\0", b"[" * 50_000, b'{"a": 1e999}', b'"\\ud800"', b"null", b"7" * 5_000],
    ids=["empty", "no text", "deep", "infinite", "half", "null", "long"],
)
def test_records_of_something_else(run: Path, own: Recipe, name: str, content: bytes) -> None:
    good = (run / name).read_bytes()
    (run / name).write_bytes(content)
    before = content_of(run)
    for call in quick_verbs(own).values():
        error_of(lambda call=call: call(run))
    assert content_of(run) == before
    (run / name).write_bytes(good)


def test_an_export_that_fails_leaves_the_artifact_as_it_was(run: Path) -> None:
    build_artifact(run)
    good = (run / "data.json").read_bytes()
    before = content_of(run / "artifact")
    (run / "data.json").write_text('{"facts": {}, "splits": {"train": 3}}')
    assert error_of(lambda: build_artifact(run)) is not None
    (run / "data.json").write_bytes(good)
    assert content_of(run / "artifact") == before
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


@pytest.mark.chaos
@pytest.mark.parametrize("name", RECORDS)
def test_every_verb_over_240_damaged_records(run: Path, own: Recipe, name: str) -> None:
    check(run, name, range(1_000, 1_030), quick_verbs(own) | SLOWER_VERBS)
