"""The suite's own path, through real processes of the plain loop and of hftune."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.measure import Row
from benchmarks.prepare import write_random
from benchmarks.suite import (
    Prepared,
    Settings,
    kept_rows,
    run_workload,
    shortened,
    time_limit,
)
from benchmarks.table import page
from benchmarks.workloads import WORKLOADS


def draw(folder: Path, number: int) -> None:
    rng = np.random.default_rng(number)
    for row in range(number):
        name, level = (("dark", 100), ("light", 150))[row % 2]
        pixels = rng.normal(level, 40, size=(40, 48, 3)).clip(0, 255).astype(np.uint8)
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name / f"{row}.png")


@pytest.mark.slow
def test_the_quick_suite_runs_hftune_beside_a_peer(tmp_path: Path) -> None:
    write_random(tmp_path / "weights", "test_efficientnet")
    draw(tmp_path / "images" / "train", 16)
    draw(tmp_path / "images" / "val", 6)
    settings = Settings(
        folder=tmp_path,
        peers=("plain", "hftune"),
        has_gpu=False,
        workers=0,
        batch_size=4,
        weights=tmp_path / "weights",
        images=tmp_path / "images",
        quick=True,
    )
    rows: list[Row] = []
    run_workload("W1", settings, rows)
    for row in rows:
        log = (tmp_path / "logs" / f"W1-{row.peer}-0.txt").read_text()
        assert row.status == "done", log
        assert row.images_per_second is not None, log
        assert row.accuracy is not None, log
        assert 0 <= row.accuracy <= 1
        assert row.first_step_seconds < row.whole_seconds
        assert row.peak_mib > 100
    assert {row.peer for row in rows} == {"plain", "hftune"}
    text = page(rows, {"command": "a test"}, checkpoints=None)
    assert "| W1 | images/s against the best peer, plain tutorial loop |" in text


def test_a_page_may_come_from_several_commands_each_workload_whole(tmp_path: Path) -> None:
    first, second = "2026-01-02 03:04 UTC, commit abc", "2026-01-03 03:04 UTC, commit def"
    rows = [
        Row(workload="W1", peer="plain", repeat=0, part=first, images_per_second=10.0),
        Row(workload="W1", peer="hftune", repeat=0, part=first, images_per_second=30.0),
        Row(workload="W4", peer="hftune", repeat=0, part=first, reached_seconds=5.0),
        Row(workload="W5", peer="hftune", repeat=0, part=first, judging_images_per_second=5.0),
        Row(workload="W1", peer="plain", repeat=0, part=second, images_per_second=10.0),
        Row(workload="W1", peer="hftune", repeat=0, part=second, images_per_second=20.0),
    ]
    (tmp_path / "rows.jsonl").write_text("".join(row.to_json() + "\n" for row in rows))
    kept = kept_rows(tmp_path, but=["W5"])
    assert [(row.workload, row.part) for row in kept] == [
        ("W4", first),
        ("W1", second),
        ("W1", second),
    ]
    text = page(kept, {}, checkpoints=None)
    assert "| 2.00 |" in text
    assert text.count(f"Run on {second}.") == 1
    assert kept_rows(tmp_path / "none", but=[]) == []


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_quick_workload_is_small(name: str) -> None:
    settings = Settings(folder=Path("x"), peers=(), has_gpu=False, quick=True)
    small = shortened(WORKLOADS[name], settings)
    assert (small.images.train, small.images.val, small.repeats) == (64, 32, 1)
    assert small.epochs <= 2


def test_a_race_stops_who_is_later_than_the_best_peer() -> None:
    def rows(*found: tuple[str, float]) -> Sequence[Row]:
        return [
            Row(workload="W4", peer=peer, repeat=0, reached_seconds=seconds)
            for peer, seconds in found
        ]

    race = Prepared(name="W4", workload=WORKLOADS["W4"], weights=Path("w"), images=Path("i"))
    begun = rows(("plain", 90.0), ("accelerate", 70.0), ("hftune", 30.0))
    assert time_limit(begun, race, "fastai") == 70.0
    assert time_limit(begun, race, "hftune") > 1000  # hftune's own time is measured whole
    assert time_limit([], race, "plain") > 1000
    first = [Row(workload="W4", peer="hftune", repeat=0, reached_seconds=20.0)]
    assert time_limit(first, race, "plain") == 60.0
    assert time_limit([*begun[:2], *first], race, "fastai") == 60.0
