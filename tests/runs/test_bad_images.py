"""Images that go bad while a run trains on two processes: the same for both, and no hang."""

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
TWO = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")


@pytest.fixture
def train(write_recipe, images, tmp_path):
    """Train an epoch on a copy of the images, of which a training and a test image go bad."""

    def run(policy, *words):
        folder, output = tmp_path / "images", tmp_path / "run"
        shutil.copytree(images, folder)
        spoil = [folder / "train/dark/000.png", folder / "test/dark/000.png"]
        settings = [f"data.source.path={folder}", f"data.on_bad_image={policy}", *words]
        line = [*TWO, SPOILING, *spoil, "train", write_recipe(), *settings]
        return output, subprocess.run(
            [*map(str, line), "train.length=1 epoch", "--output", str(output)],
            capture_output=True, text=True, timeout=300, check=False,
            env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        )  # fmt: skip

    return run


def test_two_processes_go_on_without_an_image_that_went_bad(train, metrics):
    run, done = train("quarantine", "data.workers=1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("dark/000.png cannot be read") == 2
    order = Order(num_rows=32, batch_size=8, seed=0)
    wanted = [int((step_rows(order, step).rows == 0).sum()) for step in range(4)]
    assert sum(wanted) == 1
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


def test_two_processes_end_together_where_an_image_that_went_bad_stops_the_run(train):
    run, done = train("stop")
    assert done.returncode != 0
    assert done.stderr.count("this image cannot be read") == 1
    assert "train/dark/000.png" in done.stderr
    assert "exitcode  : 2 " in done.stderr  # torchrun's word on the first that ended
    assert not (run / "results.json").exists()
