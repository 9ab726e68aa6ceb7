"""Searches through the real command line: killed at a random moment, and on two processes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

WORDS = ("optim.lr=log:1e-4..1e-2", "train.length=2..4 epochs", "save.every=2 steps")
# The all-reduce adds the same fp32 numbers in another order.
TOLERANCE = 1e-6


def search_words(recipe, output, trials=3):
    return ["tune", recipe, *WORDS, "--trials", str(trials), "-o", str(output), "--json"]


def without_clock(text):
    values = json.loads(text) | {"folder": None}
    for trial in values["trials"]:
        del trial["seconds"]
    return values


def kill_in_trial(line, run, *, step):
    """Start a command, and kill it once a trial has a checkpoint of `step` or a later one."""
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            found = [int(path.name[-8:]) for path in (run / "checkpoints").glob("step-*")]
            if any(number >= step for number in found):
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.01)
    assert process.returncode == -signal.SIGKILL


def test_a_search_that_is_killed_goes_on_to_the_same_end(write_recipe, command, tmp_path):
    recipe = write_recipe()
    whole = command(*search_words(recipe, tmp_path / "whole"))
    assert whole.code == 0, whole.err
    killed = tmp_path / "killed"
    line = [sys.executable, "-m", "hftune", *search_words(recipe, killed)]
    kill_in_trial(line, killed / "trial-0000", step=2)
    kill_in_trial(line, killed / "trial-0001", step=4)
    done = command(*search_words(recipe, killed))
    assert done.code == 0, done.err
    assert without_clock(done.out) == without_clock(whole.out)
    for trial in json.loads(whole.out)["trials"]:
        weights = f"trial-{trial['number']:04d}/best/model.safetensors"
        assert (killed / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


def test_two_processes_search_as_one_does(write_recipe, command, launch_two, tmp_path):
    recipe = write_recipe()
    one = command(*search_words(recipe, tmp_path / "one"))
    two = launch_two(*search_words(recipe, tmp_path / "two"))
    assert (one.code, two.code) == (0, 0), two.err
    mine, other = json.loads(one.out), json.loads(two.out)
    # The first trial is the recipe as it is; what is drawn later depends on its value.
    assert other["trials"][0]["settings"] == mine["trials"][0]["settings"]
    for a, b in zip(mine["trials"], other["trials"], strict=True):
        assert a["settings"] == b["settings"]
        assert b["values"] == pytest.approx(a["values"], abs=TOLERANCE)
    assert (tmp_path / "two" / "best.yaml").is_file()
