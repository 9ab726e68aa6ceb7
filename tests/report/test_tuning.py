"""What a search found: its best, its order, its JSON, its picture."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from hftune.report.tuning import Searched, TrialResult, Tuning
from hftune.report.tuning_plot import plot_tuning

SETTINGS = (
    Searched(setting="optim.lr", text="log:1e-05..0.01", axis="log"),
    Searched(setting="freeze.stages", text="0..3", axis="linear"),
    Searched(
        setting="optim.method",
        text="adamw|{name: sgd, momentum: 0.9}",
        axis="choice",
        choices=("adamw", "{name: sgd, momentum: 0.9}"),
    ),
)


def trial(number, value, state="complete", **changes):
    settings = {
        "optim.lr": 10.0 ** -(2 + number % 3),
        "freeze.stages": number % 4,
        "optim.method": SETTINGS[2].choices[number % 2],
    }
    made = TrialResult(number=number, state=state, settings=settings, value=value, values=(value,))
    return replace(made, **changes)


@pytest.fixture
def found():
    failed = trial(3, None, "failed", values=(), reason="too hot")
    return Tuning(
        name="small",
        folder=Path("runs/small-tune"),
        metric="accuracy",
        higher_is_better=True,
        searched=SETTINGS,
        trials=(trial(0, 0.7), trial(1, 0.9), trial(2, 0.95, "pruned"), failed, trial(4, 0.9)),
        importance={"optim.lr": 0.6, "freeze.stages": 0.3, "optim.method": 0.1},
    )


def test_the_best_is_complete_and_of_equals_the_earlier(found):
    assert [one.number for one in found.ranked] == [1, 4, 0]
    assert found.best.number == 1
    assert [found.count(state) for state in ("complete", "pruned", "failed")] == [3, 1, 1]
    assert replace(found, higher_is_better=False).best.number == 0
    assert replace(found, trials=()).best is None


def test_json_holds_finite_numbers(found):
    odd = trial(5, 0.5, values=(float("-inf"), 0.5))
    values = replace(found, trials=(*found.trials, odd)).to_json()
    assert json.loads(json.dumps(values, allow_nan=False))["trials"][5]["values"] == [None, 0.5]
    assert (values["best"], values["folder"]) == (1, "runs/small-tune")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_picture_has_a_slice_per_setting(number, found, tmp_path):
    path = plot_tuning(replace(found, searched=SETTINGS[:number]), tmp_path / "tuning.png")
    with Image.open(path) as image:
        assert image.height > 600
        assert (image.width > 1200) is (number > 2)


def test_a_search_without_a_value_has_a_picture_too(found, tmp_path):
    path = plot_tuning(
        replace(found, trials=(found.trials[3],), importance=None), tmp_path / "a.png"
    )
    assert path.is_file()
