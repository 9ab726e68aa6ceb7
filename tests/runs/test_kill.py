"""A run that is killed and started again by the same command loses nothing."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow


def start(recipe, run, *words):
    line = [sys.executable, "-m", "hftune", "train", recipe, *words, "save.every=2 steps"]
    return subprocess.Popen(
        [*line, "--output", str(run)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def wait_for_step(run, step, process):
    """Wait until the run has written `step`; fail if it ended before."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        path = run / "metrics.jsonl"
        if path.exists() and f'"step": {step},' in path.read_text():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    raise AssertionError(f"step {step} was never reached")


def final_weights(run):
    return load_file(next((run / "checkpoints").glob("step-*12")) / "model.safetensors")


def test_killed_twice_and_stopped_once_it_ends_bit_equal(write_recipe, command, tmp_path):
    recipe = write_recipe("test_resnet", ", drop_rate: 0.1")
    undisturbed, run = tmp_path / "undisturbed", tmp_path / "run"
    assert command("train", recipe, "save.every=2 steps", "--output", str(undisturbed)).code == 0
    for step in (3, 6):
        process = start(recipe, run)
        wait_for_step(run, step, process)
        process.kill()
        process.communicate()
    process = start(recipe, run)
    wait_for_step(run, 8, process)
    os.kill(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert "run the same command again" in said
    assert "Traceback" not in said
    process = start(recipe, run)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    expected, found = final_weights(undisturbed), final_weights(run)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert sum('"train"' in line for line in lines) == 12


PHASES = (
    "unfreeze=[{at: 0%, train: [head]}, "
    "{at: 4 steps, train: [head, stage.-1], lr_factor: 0.5, warmup: 2 steps}, "
    "{at: 8 steps, train: [all]}]",
    "optim.schedule={name: plateau, metric: loss, patience: 0, factor: 0.5, threshold: 10}",
    "data.mix.mixup=0.4",
    "eval.every=2 steps",
)


def test_killed_in_every_phase_it_ends_bit_equal(write_recipe, command, tmp_path):
    recipe = write_recipe("test_resnet", ", drop_rate: 0.1")
    undisturbed, run = tmp_path / "undisturbed", tmp_path / "run"
    done = command("train", recipe, *PHASES, "save.every=2 steps", "--output", str(undisturbed))
    assert done.code == 0, done.err
    for step in (2, 5, 9):  # one in each phase
        process = start(recipe, run, *PHASES)
        wait_for_step(run, step, process)
        process.kill()
        process.communicate()
    process = start(recipe, run, *PHASES)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    expected, found = final_weights(undisturbed), final_weights(run)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    best = [load_file(folder / "best/model.safetensors") for folder in (undisturbed, run)]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])
