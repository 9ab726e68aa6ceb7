"""A real run in a terminal, stopped as a scheduler stops it, then finished without one."""

import os
import pty
import re
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def test_a_run_is_shown_live_and_a_stop_leaves_the_terminal_as_it_was(
    write_recipe, command, metrics, tmp_path
):
    words = ["train", write_recipe(), "-o", str(tmp_path / "run"), "train.length=5000 steps"]
    master, slave = pty.openpty()
    terminal = {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    run = subprocess.Popen(
        [sys.executable, "-m", "hftune", *words],
        stdin=slave, stdout=slave, stderr=slave, env=os.environ | terminal,
    )  # fmt: skip
    os.close(slave)
    written, is_stopped = b"", False
    try:
        while content := os.read(master, 65536):
            if b"accuracy" in written and not is_stopped:
                is_stopped = True  # a second signal would end it at once
                run.send_signal(signal.SIGTERM)
            written += content
    except OSError:  # what a terminal says when the last program has left it
        pass
    os.close(master)
    assert run.wait(timeout=60) == 75
    assert written.rindex(b"\x1b[?25h") > written.rindex(b"\x1b[?25l")
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", written.decode())
    steps = metrics(tmp_path / "run", "train")[-1]["step"]
    last = plain[plain.rindex(f"small  step {steps}/5000") :]
    for fact in ("epoch ", "left", "loss ", "lr ", "accuracy ", "images/s", "waiting for data"):
        assert fact in last
    assert f"checkpoint of step {steps}, 0 s ago" in last
    assert last.rindex("stopped: ") > last.rindex("checkpoint of step")

    done = command(*words[:4], f"train.length={steps + 3} steps", TERM="xterm")
    assert done.code == 0, done.err
    lines = [line for line in done.err.splitlines() if "images/s" in line]
    assert [line.split()[1] for line in lines] == [
        f"{step}/{steps + 3}" for step in range(steps + 1, steps + 4)
    ]
    assert "best" in lines[0]  # known from the life before
    assert "\x1b" not in done.err + done.out
    assert "\r" not in done.err + done.out
