"""What the processes of a run make of one another's signs of life; real processes over gloo."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hftune.errors import LostProcessError, Stopped
from hftune.train.liveness import lost_processes, speaks
from hftune.train.peers import SILENT_LOOKS, START_LOOKS, Note, Patience, find_cause

SCENES = Path(__file__).with_name("scenes.py")


def beating(beats: int) -> Note:
    return Note(beats=beats)


def left(code: int, words: str = "") -> Note:
    return Note(code=code, words=words)


def test_a_note_that_changes_is_never_silent():
    patience = Patience(frozenset({1}))
    assert not any(patience.look({1: beating(count)}) for count in range(3 * SILENT_LOOKS))


def test_a_note_that_stands_still_is_silent_after_so_many_looks():
    patience = Patience(frozenset({1}))
    looks = [patience.look({1: beating(7)}) for _ in range(SILENT_LOOKS + 1)]
    assert looks == [frozenset()] * SILENT_LOOKS + [frozenset({1})]


def test_one_beat_in_time_begins_the_count_again():
    patience = Patience(frozenset({1, 2}))
    for count in range(SILENT_LOOKS):
        assert not patience.look({1: beating(count), 2: beating(0)})
    assert patience.look({1: beating(SILENT_LOOKS), 2: beating(1)}) == frozenset()


def test_who_left_is_not_silent():
    patience = Patience(frozenset({1}))
    assert not any(patience.look({1: left(0)}) for _ in range(3 * SILENT_LOOKS))


def test_a_process_that_starts_late_is_given_longer():
    patience = Patience(frozenset({1}))
    looks = [patience.look({}) for _ in range(START_LOOKS)]
    assert looks == [frozenset()] * (START_LOOKS - 1) + [frozenset({1})]


@pytest.mark.parametrize("notes", [{0: beating(3), 1: beating(9)}, {0: beating(3), 1: left(0)}, {}])
def test_all_is_well_while_processes_beat_or_are_done(notes):
    assert find_cause(notes, frozenset(), size=2) is None


@pytest.mark.parametrize(
    ("notes", "silent", "kind", "code", "said"),
    [
        ({1: left(2, "bad image")}, (), LostProcessError, 2, "process 1 of 3 ended with an error"),
        ({1: left(1, "KeyError: 'x'")}, (), LostProcessError, 1, "KeyError: 'x'"),
        ({1: left(75)}, (), Stopped, 75, "process 1 of 3 was stopped"),
        ({1: beating(4)}, (1,), LostProcessError, 3, "process 1 of 3 has fallen silent"),
        ({}, (2,), LostProcessError, 3, "process 2 of 3 has not come"),
        # What came of something else is not named: silence follows from an error.
        ({1: left(2, "bad image"), 2: beating(4)}, (2,), LostProcessError, 2, "bad image"),
        ({1: left(75), 2: left(1, "KeyError")}, (), LostProcessError, 1, "process 2 of 3"),
        ({1: left(-9)}, (), LostProcessError, 3, "process 1 of 3"),
    ],
)
def test_the_end_of_another_is_told_as_what_it_was(notes, silent, kind, code, said):
    cause = find_cause(notes, frozenset(silent), size=3)
    assert isinstance(cause, kind)
    assert cause.exit_code == code
    assert said in str(cause)


def test_alone_an_error_stays_what_it_is():
    with pytest.raises(RuntimeError, match="gloo/transport of nobody"), lost_processes():
        raise RuntimeError("gloo/transport of nobody")


def test_without_a_watch_the_first_process_speaks(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert speaks()
    monkeypatch.setenv("RANK", "1")
    assert not speaks()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """Play every scene at once, each with two processes of its own."""
    folder = tmp_path_factory.mktemp("scenes")
    subprocess.run(
        [sys.executable, str(SCENES), str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, timeout=300,
    )  # fmt: skip
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


KILLED, FROZEN = -9, "frozen"
LOST = "the connection to another process of this run was lost"
GONE = "the launcher of this run, or its first process, is gone"
SILENT = "process 1 of 2 has fallen silent"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scene", "codes", "said"),
    [
        ("all done", [0, 0], ""),
        ("first done early", [0, 0], ""),
        ("one waits alone for long", [0, 0], ""),
        ("one computes alone for long", [0, 0], ""),
        ("killed in a barrier", [3, KILLED], LOST),
        ("killed while the other works", [3, KILLED], SILENT),
        ("frozen in a barrier", [3, FROZEN], SILENT),
        ("first killed", [KILLED, 3], f"{GONE}|{LOST}"),  # whichever is noticed first
        ("first frozen", [FROZEN, 3], GONE),
        ("error on one", [2, 2], "image 7 is bad"),
        ("error on both", [2, 2], "image 7 is bad"),
        ("error while the other works", [2, 2], "image 7 is bad"),
        ("defect on one", [1, 1], "ValueError: a defect"),
        ("stopped alone", [75, 75], "process 1 of 2 was stopped"),
        ("left without a word", [0, 0], ""),
    ],
)
def test_no_process_waits_for_one_that_is_gone(scenes, scene, codes, said):
    assert scenes[scene]["codes"] == codes
    assert any(words in scenes[scene]["err"] for words in said.split("|"))
    if not said:
        assert scenes[scene]["err"] == ""


@pytest.mark.slow
def test_an_error_of_all_is_said_once(scenes):
    assert scenes["error on both"]["err"].count("image 7 is bad") == 1


@pytest.mark.slow
def test_who_meets_the_error_says_it_whole_and_the_other_names_its_place(scenes):
    said = scenes["error on one"]["err"]
    assert "do:       look at it" in said
    assert "process 1 of 2 ended with an error" in said
