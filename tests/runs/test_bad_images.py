"""Images that go bad while a run trains: the same on one process and on two, and no hang."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hftune.data.order import Order, step_rows

pytestmark = pytest.mark.slow

SPOILING = Path(__file__).with_name("spoiling.py")
LAUNCHERS = {1: [], 2: ["-m", "torch.distributed.run", "--nproc-per-node", "2"]}
# The all-reduce adds the same fp32 numbers in another order.
LOSS_TOLERANCE = 1e-4


@pytest.fixture
def train(write_recipe, images, tmp_path):
    """Train one epoch in four steps on a copy of the images, of which two training images and a
    test image go bad meanwhile.
    """
    recipe = write_recipe()

    def run(processes, policy, *words):
        folder = tmp_path / f"images-{processes}-{policy}"
        shutil.copytree(images, folder)
        output = tmp_path / f"run-{processes}-{policy}"
        spoil = [str(folder / "train/dark/000.png"), str(folder / "test/dark/000.png")]
        line = [sys.executable, *LAUNCHERS[processes], str(SPOILING), *spoil, "train", recipe]
        settings = [f"data.source.path={folder}", f"data.on_bad_image={policy}", *words]
        return output, subprocess.run(
            [*line, *settings, "train.length=1 epoch", "--output", str(output)],
            capture_output=True, text=True, timeout=300, check=False,
            env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        )  # fmt: skip

    return run


def test_two_processes_go_on_as_one_does_with_the_same_images(train, metrics):
    runs = {}
    for processes in (1, 2):
        runs[processes], done = train(processes, "quarantine", "data.workers=1")
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("dark/000.png cannot be read") == 2
    one, two = runs[1], runs[2]
    order = Order(num_rows=32, batch_size=8, seed=0)
    wanted = [int((step_rows(order, step).rows == 0).sum()) for step in range(4)]
    assert sum(wanted) == 1
    for run in (one, two):
        assert [line["replaced_images"] for line in metrics(run, "train")] == wanted
        listed = [json.loads(line) for line in (run / "quarantine.jsonl").read_text().splitlines()]
        assert [(line["split"], line["name"]) for line in listed] == [
            ("train", "train/dark/000.png"),
            ("test", "test/dark/000.png"),
        ]
        results = json.loads((run / "results.json").read_text())["evaluations"]
        assert [(one["split"], one["num_examples"], one["num_bad"]) for one in results] == [
            ("val", 13, 0),
            ("test", 8, 1),
        ]
    for mine, other in zip(metrics(one, "train"), metrics(two, "train"), strict=True):
        assert other["loss"] == pytest.approx(mine["loss"], abs=LOSS_TOLERANCE)


def test_two_processes_end_together_where_bad_images_stop_the_run(train):
    run, done = train(2, "stop", "train.batch_size=32", "train.micro_batch_size=16")
    assert done.returncode != 0
    assert done.stderr.count("this image cannot be read") == 1
    assert "train/dark/000.png" in done.stderr
    assert "Traceback (most recent call last)" not in done.stderr.split("torch/distributed")[0]
    assert not (run / "results.json").exists()
