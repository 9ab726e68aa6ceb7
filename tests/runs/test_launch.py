"""Whole runs of two processes under the launchers: what a stop leaves, and the exit codes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HFTUNE = (sys.executable, "-m", "hftune", "launch", "--num_processes", "2")
ACCELERATE = (
    sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
    "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
    "--main_process_port", "0", "-m", "hftune",
)  # fmt: skip


def stopped_at(step: int, run: Path, line: Sequence[str]) -> tuple[int, str]:
    """Send SIGTERM to the launcher once `step` was taken; give exit code and stderr."""
    with subprocess.Popen(
        [*line, "--output", str(run)], env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        metrics = run / "metrics.jsonl"
        while not (metrics.exists() and f'"step": {step},' in metrics.read_text()):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=300)
    return process.returncode, said


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").glob("step-*"))


def test_a_stop_keeps_a_checkpoint_under_either_launcher(write_recipe, tmp_path):
    words = ("train", write_recipe(), "train.length=2000 steps", "eval.every=1000 steps")
    run = tmp_path / "run"

    code, said = stopped_at(3, run, [*HFTUNE, *words])
    assert code == 75, said
    assert "a checkpoint is kept" in said
    assert "Traceback" not in said
    assert "SIGTERM" not in said  # nothing of what the launcher does about it
    first = checkpoints(run)
    assert len(first) == 1

    reached = int(first[0].removeprefix("step-"))
    code, said = stopped_at(reached + 3, run, [*ACCELERATE, *words])
    assert code == 1, said  # Accelerate's own
    assert "a checkpoint is kept" in said
    assert checkpoints(run)[-1] > first[-1]


def test_a_wrong_recipe_ends_the_launcher_as_it_ends_a_process(tmp_path):
    (tmp_path / "wrong.yaml").write_text("run: wrong\noptim: {lr: -1}\n")
    line = [*HFTUNE, "train", str(tmp_path / "wrong.yaml")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert done.stderr.count("optim.lr") == 1
    assert "Traceback" not in done.stderr
