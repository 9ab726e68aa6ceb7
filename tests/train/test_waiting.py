"""The share of the time that training waits for its data: measured, written, and hinted at once."""

import json
import time
from dataclasses import replace

import pytest

from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.waiting import Waiting
from hftune.train.world import join_world


def test_the_share_is_of_the_time_since_the_last_report(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    waiting = Waiting()
    now[0] = 110.0
    assert waiting.share(2.5) == 0.25
    now[0] = 114.0
    assert waiting.share(4.5) == 0.5
    assert waiting.share(4.5) == 0.0  # no time has passed


@pytest.mark.parametrize("share", [0.0, 0.19])
def test_little_waiting_is_not_spoken_of(share: float) -> None:
    waiting = Waiting()
    assert [waiting.hint(share, workers=None) for _ in range(3)] == [None] * 3


def test_much_waiting_is_spoken_of_once_and_not_at_the_first_report() -> None:
    waiting = Waiting()
    first, second, third = (waiting.hint(0.4, workers=None) for _ in range(3))
    assert first is third is None
    assert second is not None
    assert second.startswith("40% of the time since the last report went into waiting for data")
    assert "data.workers" not in second  # chosen by measurement already


def test_workers_that_the_recipe_gives_can_be_raised() -> None:
    waiting = Waiting()
    waiting.hint(0.4, workers=1)
    assert "more data.workers" in str(waiting.hint(0.4, workers=1))


class SlowRows:
    """Rows of which each takes a moment to read."""

    def __init__(self, rows: object) -> None:
        self.rows = rows

    def __getattr__(self, name: str) -> object:
        return getattr(self.rows, name)

    def __len__(self) -> int:
        return len(self.rows)  # type: ignore[arg-type]

    def image(self, row: int) -> object:
        deadline = time.monotonic() + 0.01
        while time.monotonic() < deadline:
            pass
        return self.rows.image(row)  # type: ignore[attr-defined]


def test_a_run_writes_its_share_of_waiting(make_recipe, make_tiny_model, make_splits, run, caplog):
    splits, model, recipe = make_splits(), make_tiny_model(), make_recipe()
    slow = replace(splits, train=replace(splits.train, rows=SlowRows(splits.train.rows)))
    with caplog.at_level("INFO"):
        train(make_plan(recipe, model, slow, join_world()), model, slow, run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    shares = [line["waiting"] for line in lines if line["kind"] == "train"]
    assert len(shares) == 9
    assert all(0 < share <= 1 for share in shares)
    assert "waiting for data" in caplog.text
