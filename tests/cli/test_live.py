"""The live view: what it draws at a width, and what a terminal holds during and after it."""

import io
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from hftune.cli.live import drawing
from hftune.cli.main import wants_view
from hftune.train.status import Pace, Status

FULL = Status(
    run="pets-vit-small", step=640, total_steps=2000, steps_per_epoch=200,
    phase="head, stage.-1", metric="accuracy",
    pace=Pace(
        loss=0.43121, rates=(1.2e-5, 3e-4), images_per_second=412.34, waiting=0.021,
        memory=1932735283, peak=2362232013,
    ),
    last=0.912, last_step=600, best=0.918, best_step=400, epoch_left=51, left=440,
    saved_step=600, saved_ago=21, skipped_steps=2, bad_images=3,
)  # fmt: skip

AT_80 = """\
pets-vit-small  step 640/2000  ==============-=============================  32%
epoch 3.20 of 10  51 s left of it  7 min 20 s left  training head, stage.-1
loss 0.4312  lr 1.2e-05 to 3.0e-04  accuracy 0.9120, best 0.9180 at step 400
412.3 images/s  waiting for data 2%  memory 1.8 GiB, peak 2.2 GiB
checkpoint of step 600, 21 s ago
fp16 steps skipped 2  bad images 3
"""
AT_50 = """\
pets-vit-small  step 640/2000  ====-=========  32%
epoch 3.20 of 10  51 s left of it  7 min 20 s left
training head, stage.-1
loss 0.4312  lr 1.2e-05 to 3.0e-04
accuracy 0.9120, best 0.9180 at step 400
412.3 images/s  waiting for data 2%
memory 1.8 GiB, peak 2.2 GiB
checkpoint of step 600, 21 s ago
fp16 steps skipped 2  bad images 3
"""

YELLOW = r"\x1b\[[0-9;]*33m"
# What a bar and a cut are drawn with.
PLAIN = str.maketrans({"\u2501": "=", "\u257a": "-", "\u2578": "-", "\u2026": "~"})

# Draws as a run does, with other things printed meanwhile; ends as its argument says.
PROGRAM = """
import logging, os, signal, sys, time, warnings
from dataclasses import replace
from hftune.cli.live import LiveView
from hftune.log import configure
from tests.cli.test_live import FULL

configure()
view = LiveView()
try:
    view.show(replace(FULL, step=1))
    logging.getLogger("hftune").warning("[red]three[/red] :warning: " + "long " * 30 + "end")
    if os.fork() == 0:
        logging.getLogger("hftune").info("from a worker")
        os._exit(0)
    os.wait()
    for step in range(2, 1000):
        view.show(replace(FULL, step=step))  # far more often than it is drawn
    sys.stderr.write("half a ")
    sys.stderr.write("line\\nno end")
    if sys.argv[1] == "fail":
        raise RuntimeError("lost")
    if sys.argv[1] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
finally:
    view.close()
print("after", file=sys.stderr)
"""


def draw(status: Status, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, record=True)
    console.print(drawing(status, width=width))
    text = console.export_text().translate(PLAIN)
    return "".join(line.rstrip() + "\n" for line in text.splitlines())


def in_terminal(*words: str, **environment: str) -> tuple[int, str]:
    """Run Python in a terminal of 80 columns; give its exit code and all that it wrote there."""
    master, slave = pty.openpty()
    environment = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "40"} | environment
    process = subprocess.Popen(
        [sys.executable, *words], stdin=slave, stdout=slave, stderr=slave,
        env=os.environ | environment, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    os.close(slave)
    written = b""
    try:
        while content := os.read(master, 65536):
            written += content
    except OSError:  # what a terminal says when the last program has left it
        pass
    os.close(master)
    return process.wait(timeout=60), written.decode().replace("\r\n", "\n")


def without_codes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", text)


@pytest.mark.parametrize(("width", "text"), [(80, AT_80), (50, AT_50)])
def test_all_facts_fit_the_width(width, text):
    assert draw(FULL, width) == text


def test_what_is_not_known_yet_takes_no_room():
    status = Status(
        run="a-name-that-is-much-longer-than-a-line", step=0, total_steps=9, steps_per_epoch=3,
        phase="all", metric="accuracy",
    )  # fmt: skip
    first, second = draw(status, 40).splitlines()
    assert first.startswith("a-name-that-~  step 0/9  =")
    assert first.endswith("  0%")
    assert second == "epoch 0.00 of 3  training all"


def test_a_hundred_percent_is_said_at_the_end_only():
    assert "99%" in draw(replace(FULL, step=1999), 80)
    assert "100%" in draw(replace(FULL, step=2000), 80)


@pytest.mark.parametrize("end", ["well", "fail"])
def test_other_lines_stay_whole_and_the_terminal_is_given_back(end):
    code, written = in_terminal("-c", PROGRAM, end)
    assert code == (1 if end == "fail" else 0)
    plain = without_codes(written)
    assert "warning: [red]three[/red] :warning: " + "long " * 30 + "end\n" in plain
    assert "half a line\n" in plain
    assert "no end\n" in plain
    assert "from a worker\n" in plain
    assert 0 < plain.count("step 1/2000") < 9
    assert plain.count("/2000") < 12  # a few drawings of a thousand
    assert re.search(YELLOW, written)
    last = plain.rpartition("pets-vit-small  step 999/2000")[2]
    assert last.splitlines()[1:6] == AT_80.replace("3.20", "5.00").splitlines()[1:]
    assert last.rstrip().endswith("RuntimeError: lost" if end == "fail" else "after")
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def test_a_kill_leaves_the_cursor_on():
    code, written = in_terminal("-c", PROGRAM, "kill")
    assert code == -9
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def test_no_color_is_heard():
    _, written = in_terminal("-c", PROGRAM, "well", NO_COLOR="1")
    assert "bad images 3" in written
    assert not re.search(YELLOW, written)


@pytest.mark.parametrize(
    ("term", "arguments", "wanted"),
    [
        ("xterm", ["train", "a.yaml"], True),
        ("xterm", ["train", "a.yaml", "--json"], False),
        ("dumb", ["train", "a.yaml"], False),
        ("", ["train", "a.yaml"], False),
    ],
)
def test_a_view_needs_a_terminal(term, arguments, wanted, monkeypatch):
    master, slave = pty.openpty()
    monkeypatch.setenv("TERM", term)
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert wants_view(arguments) is wanted
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not wants_view(arguments)
    os.close(master)
