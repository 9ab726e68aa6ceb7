"""What goes wrong on one rank ends all of them, with the same words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_bad_loss_and_scarce_memory_of_one_rank_decide_for_both(tmp_path):
    line = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0",
        "-m", "tests.train.two_ranks", str(tmp_path),
    ]  # fmt: skip
    done = subprocess.run(
        line, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert seen[0] == seen[1]
    assert seen[0]["kept"]
    assert seen[0]["size"] == 2
    assert seen[0]["sent"] == seen[0]["trained"] > 0  # once a step, and nothing that is frozen
    lines = seen[0]["error"].splitlines()
    assert lines[0] == "the loss or its gradient is not finite in step 2 of 9"
    assert "the loss cross_entropy is not finite, though what the model answers is" in lines[1]
    assert "micro-batch 2 of 4, fp32" in seen[0]["error"]


@pytest.mark.slow
def test_two_ranks_make_a_share_of_the_features_each_and_train_as_over_images(tmp_path):
    line = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0",
        "-m", "tests.train.two_ranks_frozen", str(tmp_path),
    ]  # fmt: skip
    own = {"OMP_NUM_THREADS": "1", "HFTUNE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        line, cwd=ROOT, env=os.environ | own, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ends = [
        load_file(tmp_path / name / f"rank-{rank}.safetensors")
        for name in ("kept", "live")
        for rank in (0, 1)
    ]
    for end in ends[1:]:
        assert all(torch.equal(end[name], value) for name, value in ends[0].items())
    kept = list((tmp_path / "cache" / "features").glob("*/rows.safetensors"))
    assert len(kept) == 2 + 1  # 300 training images, 150 in a part, and 11 of validation
