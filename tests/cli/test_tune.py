"""What `hftune tune` prints, and what it refuses at once."""

from dataclasses import replace
from pathlib import Path

import pytest

from hftune.cli.main import invoke
from hftune.cli.tune import print_tuning
from hftune.report.tuning import Searched, TrialResult, Tuning

LR = Searched(setting="optim.lr", text="log:1e-05..0.01", axis="log")


def trial(number, value, state="complete", **changes):
    settings = {"optim.lr": 10.0**-number}
    return replace(
        TrialResult(number=number, state=state, settings=settings, value=value, seconds=65.0),
        **changes,
    )


@pytest.fixture
def found():
    return Tuning(
        name="small",
        folder=Path("runs/small-tune"),
        metric="accuracy",
        higher_is_better=True,
        searched=(LR,),
        trials=(trial(1, 0.7), trial(2, 0.9), trial(3, 0.6, "pruned")),
    )


def test_the_complete_trials_are_listed_best_first(found, capsys):
    failed = trial(4, None, "failed", reason="the loss is not finite")
    print_tuning(replace(found, trials=(*found.trials, failed), importance={"optim.lr": 1.0}))
    assert capsys.readouterr().out.splitlines() == [
        "trial  accuracy  optim.lr  time",
        "    2    0.9000    0.0100  1 min 05 s",
        "    1    0.7000    0.1000  1 min 05 s",
        "",
        "4 trials: 2 complete, 1 pruned, 1 failed",
        "  trial 4: the loss is not finite",
        "importance  optim.lr 1.00",
        "picture     runs/small-tune/tuning.png",
        "best        runs/small-tune/best.yaml",
        "The best of many trials on one validation split looks better than it is. "
        "Train it with another seed,",
        "or judge it once on images that chose nothing: hftune eval runs/small-tune/trial-0002",
    ]


def test_a_search_without_a_complete_trial_names_no_best(found, capsys):
    print_tuning(replace(found, trials=(trial(3, 0.6, "pruned"),)))
    assert "best" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["little-similar", "optim.lr=1e-3"], "there is nothing to search"),
        (["little-similar", "optim.lr=3..1", "--sampler", "grid"], "must be below the upper one"),
        (["little-similar", "optim.lr=1..3", "--time", "soon"], "'soon' cannot be read"),
        (["little-similar", "optim.lr=1..3", "--sampler", "best"], "--sampler"),
    ],
)
def test_a_wrong_request_ends_with_code_2(words, complaint, capsys):
    assert invoke(["tune", *words]) == 2
    assert complaint in capsys.readouterr().err
