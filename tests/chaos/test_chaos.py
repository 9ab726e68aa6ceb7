"""Runs that are killed, moved and starved of disk end as if nothing had happened.

Every script here can be run by itself, with larger numbers.
"""

import json
import subprocess
import sys

import pytest

from tests.chaos.full_disk import may_mount
from tests.chaos.small_run import SAVE_EVERY

pytestmark = pytest.mark.slow


def script(name, *words):
    """Run one of the scripts beside this file and give the JSON that it prints."""
    line = [sys.executable, "-m", f"tests.chaos.{name}", *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def check_kills(tally, *, kills):
    assert tally["different"] == []
    assert tally["hung"] == 0
    assert tally["tracebacks"] == 0
    assert tally["kills"] >= kills
    assert tally["largest_loss"] <= SAVE_EVERY


def test_killed_at_random_moments_a_run_ends_bit_equal():
    check_kills(script("kills", "--runs", 1, "--kills", 5), kills=5)


def test_so_does_a_run_of_two_processes():
    check_kills(script("kills", "--runs", 1, "--kills", 3, "--processes", 2), kills=3)


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("runs", "kills", "words"),
    [
        (12, 10, ()),
        (4, 10, ("--workers", 1)),
        (6, 7, ("--processes", 2)),
        (6, 10, ("--keeping",)),
        (3, 7, ("--keeping", "--processes", 2)),
    ],
)
def test_two_hundred_kills(runs, kills, words):
    tally = script("kills", "--runs", runs, "--kills", kills, "--seed", 1, *words)
    check_kills(tally, kills=runs * kills)


def check_kept(found, *, chains):
    assert (found["chains"], found["different"], found["hung"]) == (chains, [], 0)
    assert found["tracebacks"] == 0


def test_killed_while_features_and_images_are_written_nothing_half_is_read():
    found = script("kept")
    check_kept(found, chains=1)
    assert (found["kills"], found["stops"]) == (3, 1)
    assert found["half"] > 0  # the kill in a part left half of it


@pytest.mark.chaos
@pytest.mark.parametrize("words", [("--chains", 20), ("--chains", 8, "--processes", 2)])
def test_many_such_kills(words):
    found = script("kept", "--seed", 1, *words)
    check_kept(found, chains=words[1])
    assert found["kills"] > words[1]


def test_going_on_with_another_number_of_processes_sees_the_same_images():
    found = script("crossing")
    whole = found.pop("1 then 1")
    assert len(found) == 2
    for crossed in found.values():
        assert crossed["rows"] == whole["rows"]
        assert crossed["rates"] == whole["rates"]
        for name in ("losses", "evaluations"):
            assert crossed[name] == pytest.approx(whole[name], abs=1e-4)


def check_sizes(found):
    for size in found["sizes"]:
        assert (size["code"], size["message"], size["traceback"]) == (3, True, False), size
        assert size["same"], size


@pytest.mark.skipif(not may_mount(), reason="may not mount a small disk")
def test_a_full_disk_costs_nothing_but_time():
    check_sizes(script("full_disk", "--sizes", 3))


@pytest.mark.chaos
@pytest.mark.skipif(not may_mount(), reason="may not mount a small disk")
def test_a_disk_that_is_full_at_each_of_many_moments():
    check_sizes(script("full_disk", "--sizes", 60, "--seed", 1))


@pytest.mark.chaos
@pytest.mark.parametrize("processes", [1, 2])
def test_a_stop_in_every_place_ends_with_75_and_loses_nothing(processes):
    found = script("stops", "--processes", processes)
    assert len(found["places"]) == 6
    for place in found["places"]:
        assert (place["reached"], place["code"], place["traceback"]) == (True, 75, False), place
        assert (place["again"], place["same"]) == (0, True), place
