"""Phases over several processes: the same weights on every rank, the same rates for any number."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

WATCHED = Path(__file__).with_name("watched.py")

# Twelve steps: a phase ends after 3 and after 6.
CRAFT = """\
run: ranks
model: {architecture: test_resnet, pretrained: false, image_size: 32}
data:
  source: {name: image_folder, path: IMAGES}
  workers: 0
  mix: {mixup: 0.4, cutmix: 1.0}
  class_weights: inverse
optim:
  lr: 1e-3
  layer_decay: 0.8
  schedule: {name: plateau, metric: loss, patience: 0, factor: 0.5, threshold: 10, warmup: 2 steps}
  swa: {start: 8 steps, every: 2 steps}
unfreeze:
  - {at: 0%, train: [head]}
  - {at: 25%, train: [head, stage.-1], lr_factor: 0.5, warmup: 2 steps}
  - {at: 50%, train: [all]}
train: {length: 12 steps, batch_size: 8, micro_batch_size: 2, precision: fp32}
eval: {every: 3 steps, best: accuracy}
save: {every: 1 h}
track: {every: 1 steps}
"""


def watched(number: int, recipe: Path, folder: Path) -> Path:
    notes = folder / f"notes-{number}"
    notes.mkdir()
    run = folder / f"run-{number}"
    launcher = [sys.executable]
    if number > 1:
        launcher += [
            "-m", "torch.distributed.run", "--nproc-per-node", str(number),
            "--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0",
        ]  # fmt: skip
    line = [*launcher, str(WATCHED), str(notes), "train", str(recipe), "--output", str(run)]
    done = subprocess.run(
        line, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return run


def notes_of(folder: Path, number: int) -> list[list[dict[str, object]]]:
    return [
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted((folder / f"notes-{number}").iterdir())
    ]


@pytest.mark.parametrize("numbers", [(1, 2), pytest.param((1, 2, 4), marks=pytest.mark.chaos)])
def test_ranks_agree_after_every_phase_and_rates_whatever_their_number(
    numbers, images, metrics, tmp_path
):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(CRAFT.replace("IMAGES", str(images)))
    runs = {number: watched(number, recipe, tmp_path) for number in numbers}
    for number in runs:
        notes = notes_of(tmp_path, number)
        assert len(notes) == number
        assert [note["step"] for note in notes[0]] == [3, 6, 12]  # the phases' ends
        assert all(note == notes[0] for note in notes)
        assert len({note["weights"] for note in notes[0]}) == 3  # each phase moved something
    rates = {n: [entry["lr"] for entry in metrics(run, "train")] for n, run in runs.items()}
    assert len(rates[1]) == 12
    assert all(rates[number] == rates[1] for number in numbers)
    losses = {n: [entry["loss"] for entry in metrics(run, "train")] for n, run in runs.items()}
    for number in numbers:
        # Batch norm's statistics in training are each micro-batch's own: the same sums in
        # another order, whatever the number of processes.
        assert losses[number] == pytest.approx(losses[1], abs=1e-4)
