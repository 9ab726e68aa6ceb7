"""Measures processes of a few lines in place of peers."""

import os
import select
import sys
import textwrap
from pathlib import Path

import pytest

from benchmarks.measure import End, Row, measure

HEAD = """
import json, subprocess, sys, time
def say(event, **facts):
    print("BENCH " + json.dumps({"event": event, **facts}), flush=True)
"""


def run(script: str, folder: Path, end: End | None = None) -> Row:
    row = Row(workload="W1", peer="plain", repeat=0)
    command = [sys.executable, "-c", HEAD + textwrap.dedent(script)]
    log = folder / "log.txt"
    measure(row, command, environment=os.environ, end=end or End(), log=log)
    return row


def test_a_run_gives_what_it_told_and_its_own_length(tmp_path: Path) -> None:
    row = run(
        """
        say("first_step")
        print("a line for people")
        say("trained", images_per_second=4.0, seconds=2.0)
        say("judged", accuracy=0.5, balanced_accuracy=0.25, num_images=4)
        say("evaluated", images_per_second=9.0)
        """,
        tmp_path,
    )
    assert row.status == "done"
    assert (row.images_per_second, row.training_seconds) == (4.0, 2.0)
    assert (row.accuracy, row.balanced_accuracy) == (0.5, 0.25)
    assert row.judging_images_per_second == 9.0
    assert row.first_step_seconds is not None
    assert row.whole_seconds is not None
    assert 0 < row.first_step_seconds <= row.whole_seconds
    assert "a line for people" in (tmp_path / "log.txt").read_text()


def test_a_run_that_fails_says_so_and_leaves_its_words(tmp_path: Path) -> None:
    row = run("raise SystemExit('no such network')", tmp_path)
    assert row.status == "failed"
    assert "no such network" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("end", [End(at_first_step=True), End(accuracy=0.8)], ids=str)
def test_an_end_from_outside_ends_all_that_the_peer_started(end: End, tmp_path: Path) -> None:
    row = run(
        """
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(child.pid, flush=True)
        say("judged", accuracy=0.7, balanced_accuracy=0.7)
        say("first_step")
        say("judged", accuracy=0.9, balanced_accuracy=0.9)
        time.sleep(600)
        """,
        tmp_path,
        end,
    )
    assert row.status == "done"
    assert (row.reached_seconds is not None) == (end.accuracy is not None)
    child = int((tmp_path / "log.txt").read_text())
    assert has_ended(child)


def test_a_run_past_its_time_is_stopped(tmp_path: Path) -> None:
    row = run("time.sleep(600)", tmp_path, End(seconds=0.5))
    assert row.status == "stopped"


def test_memory_of_children_counts(tmp_path: Path) -> None:
    row = run(
        """
        hold = "held = bytearray(100 * 2**20); held[::4096] = held[::4096]; "
        subprocess.run([sys.executable, "-c", hold + "import time; time.sleep(1)"])
        """,
        tmp_path,
    )
    assert row.peak_mib is not None
    assert 100 < row.peak_mib < 200


def has_ended(pid: int) -> bool:
    """Say whether a killed process is gone, or goes at once."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ended, _, _ = select.select([process], [], [], 30)
    os.close(process)
    return bool(ended)
