"""Optuna's journal: the same questions with the same seed, also after a kill at any moment."""

import subprocess
import sys
from dataclasses import replace

import pytest

from hftune.errors import RequestError
from hftune.report.tuning import TrialResult
from hftune.tune.method import Method
from hftune.tune.space import read_words
from hftune.tune.study import JOURNAL, LOCK, open_study

SPACE = read_words(["a=log:1e-5..1e-2", "b=16|32|64", "c=0..3", "d=0.5..0.9"]).space
METHODS = [Method(), Method(sampler="random", seed=3)]


def opened(folder, method=Method(), *, space=SPACE):  # noqa: B008  # frozen
    return open_study(folder, space, method, higher_is_better=True)


def judged(trial):
    """A trial's value after two evaluations: best where `a` is a thousandth."""
    value = -abs(trial.drawn["a"] - 1e-3)
    return TrialResult(
        number=trial.number,
        state="complete",
        settings={},
        value=value,
        values=(2 * value, value),
        seconds=1.5,
    )


def ask(study, number):
    trials = []
    for _ in range(number):
        trials.append(study.next_trial())
        study.finish(judged(trials[-1]))
    return [dict(trial.drawn) for trial in trials]


@pytest.mark.parametrize("method", METHODS)
def test_a_study_opened_for_each_trial_asks_as_one_that_stays_open(method, tmp_path):
    with opened(tmp_path / "whole", method) as study:
        whole = ask(study, 14)
    parts = []
    for _ in range(14):
        with opened(tmp_path / "parts", method) as study:
            begun = study.next_trial()  # and killed
        with opened(tmp_path / "parts", method) as study:
            assert study.next_trial() == begun
            parts += ask(study, 1)
    assert parts == whole
    with opened(tmp_path / "other", replace(method, seed=7)) as study:
        assert ask(study, 2) != whole[:2]


def test_no_two_trials_are_drawn_from_one_seed(tmp_path):
    with opened(tmp_path, Method(sampler="random")) as study:
        drawn = ask(study, 6)
    assert len({trial["a"] for trial in drawn}) == 6


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_line_that_a_kill_cut_short_is_no_line(cut, tmp_path):
    with opened(tmp_path / "whole") as study:
        whole = ask(study, 4)
    with opened(tmp_path / "cut") as study:
        ask(study, 3)
    journal = tmp_path / "cut" / JOURNAL
    content = journal.read_bytes()
    journal.write_bytes(content[:-cut])  # inside the last line: the end of trial 2
    journal.with_name(f"{JOURNAL}.lock").symlink_to(journal)  # Optuna's own, left by the kill
    with opened(tmp_path / "cut") as study:
        assert len(study.results()) == 2
        assert ask(study, 2) == whole[2:]
    assert len(content.splitlines()[-1]) > 60


def test_the_end_of_a_trial_may_be_told_again(tmp_path):
    with opened(tmp_path / "once") as study:
        study.finish(judged(study.next_trial()))
        once = study.results()
    journal = tmp_path / "once" / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    for kept in range(2, len(lines) + 1):  # killed after any line
        folder = tmp_path / str(kept)
        folder.mkdir()
        (folder / JOURNAL).write_bytes(
            b"".join(lines[:kept]).replace(b"once", folder.name.encode())
        )
        with opened(folder) as study:
            if not study.results():
                study.finish(judged(study.next_trial()))
            assert study.results() == once


def test_results_are_read_back(tmp_path):
    with opened(tmp_path) as study:
        first = study.next_trial()
        study.finish(judged(first))
        pruned = study.next_trial()
        study.finish(replace(judged(pruned), state="pruned", value=-3.0, values=(-3.0, -5.0)))
        failed = study.next_trial()
        settings = {"a": 1.0}
        study.finish(
            TrialResult(number=failed.number, state="failed", settings=settings, reason="too hot")
        )
        one, two, three = study.results()
    assert (one.state, one.value, one.seconds) == ("complete", judged(first).value, 1.5)
    assert one.settings["a"] == pytest.approx(first.drawn["a"], rel=1e-3)
    assert one.settings["b"] == first.drawn["b"]
    assert (two.state, two.value, two.values) == ("pruned", -3.0, (-3.0, -5.0))
    assert (three.state, three.value, three.reason) == ("failed", None, "too hot")


def test_a_trial_is_given_up_below_the_median_of_five(tmp_path):
    with opened(tmp_path) as study:
        for value in (0.5, 0.6, 0.7, 0.8):
            trial = study.next_trial()
            study.finish(replace(judged(trial), value=value, values=(value, value)))
        assert not study.gives_up(study.next_trial().number, [0.1])  # four are too few
        study.finish(replace(judged(study.next_trial()), value=0.9, values=(0.9, 0.9)))
        number = study.next_trial().number
        assert study.gives_up(number, [0.69]) is True  # it goes into a checkpoint
        assert study.gives_up(number, [0.71]) is False
        assert not study.gives_up(number, [0.71, 0.1])  # the best so far counts
    with opened(tmp_path, Method(pruner="none")) as study:
        assert not study.gives_up(number, [0.1])


def test_what_a_killed_trial_had_told_does_not_count_when_it_is_judged_again(tmp_path):
    with opened(tmp_path) as study:
        for value in (0.5, 0.6, 0.7, 0.8, 0.9):
            study.finish(replace(judged(study.next_trial()), value=value, values=(value, value)))
        number = study.next_trial().number
        assert not study.gives_up(number, [0.75])
        assert study.gives_up(number, [0.65])
        assert not study.gives_up(number, [0.75])


def test_a_grid_is_walked_once(tmp_path):
    space = read_words(["b=16|32", "c=0..2"]).space
    with opened(tmp_path, Method(sampler="grid"), space=space) as study:
        found = []
        for _ in range(6):
            trial = study.next_trial()
            found.append((trial.drawn["b"], trial.drawn["c"]))
            study.finish(replace(judged_flat(trial), value=0.5, values=(0.5,)))
    assert sorted(found) == [(b, c) for b in ("16", "32") for c in range(3)]


def judged_flat(trial):
    return TrialResult(number=trial.number, state="complete", settings={})


def test_the_first_trial_may_be_given(tmp_path):
    given = {"a": 1e-3, "b": "32", "c": 2, "d": 0.6}
    with opened(tmp_path) as study:
        assert study.next_trial(given).drawn == given
        study.finish(judged(study.next_trial(given)))
        assert study.next_trial(given).drawn != given


def test_importance_waits_for_ten_trials_and_finds_what_matters(tmp_path):
    with opened(tmp_path) as study:
        ask(study, 9)
        assert study.importance() is None
        ask(study, 11)
        shares = study.importance()
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.get) == "a"


def test_a_study_is_worked_on_by_one_process(tmp_path):
    # A lock of this process would not keep this process out: another one holds it.
    code = (
        "import fcntl, sys\n"
        "with open(sys.argv[1], 'a') as lock:\n"
        "    fcntl.lockf(lock, fcntl.LOCK_EX)\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    line = [sys.executable, "-c", code, str(tmp_path / LOCK)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RequestError, match="another process is at work"), opened(tmp_path):
            pass
        other.communicate()
    with opened(tmp_path) as study:
        assert study.results() == ()
