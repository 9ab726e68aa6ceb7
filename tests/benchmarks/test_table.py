import pytest

from benchmarks.measure import Row
from benchmarks.table import best_peer, judge_bars, median, page, times_better


def row(peer: str, *, workload: str = "W1", repeat: int = 0, **figures: object) -> Row:
    return Row(workload=workload, peer=peer, repeat=repeat, **figures)


RATES = [
    *(row("plain", repeat=n, images_per_second=rate) for n, rate in enumerate((6.0, 8.0, 7.0))),
    row("fastai", images_per_second=5.0),
    row("hftune", images_per_second=21.0),
    row("limit", images_per_second=28.0),
]


def test_a_figure_is_the_median_of_the_repeats() -> None:
    assert median(RATES, "plain", "images_per_second") == 7.0


def test_a_run_that_failed_or_was_stopped_counts_for_nothing() -> None:
    rows = [
        row("plain", images_per_second=9.0, status="failed"),
        row("plain", images_per_second=8.0, status="stopped"),
        row("plain", images_per_second=2.0),
    ]
    assert median(rows, "plain", "images_per_second") == 2.0
    assert "1, 1 failed, 1 stopped" in page(rows, {}, checkpoints=None)


def test_the_best_peer_is_neither_hftune_nor_the_limit() -> None:
    assert best_peer(RATES, "images_per_second") == "plain"


def test_of_seconds_fewer_are_better() -> None:
    rows = [row("plain", whole_seconds=40.0), row("hftune", whole_seconds=10.0)]
    assert times_better(rows, "whole_seconds", than="plain") == 4.0
    assert times_better(rows, "whole_seconds", than="hftune", peer="plain") == 0.25


def test_bars_are_ratios_and_a_bar_that_is_not_reached_is_shown() -> None:
    best, limit, memory = judge_bars(RATES)
    assert (best.ratio, best.reached) == (3.0, "yes")  # 21 to 7
    assert (limit.ratio, limit.reached) == (0.75, "**no**")  # 21 to 28, bar 0.93
    assert (memory.ratio, memory.reached) == (None, "not measured")


def test_a_race_that_no_peer_finished_is_won_by_what_they_had() -> None:
    rows = [
        row("hftune", workload="W4", reached_seconds=100.0),
        row("plain", workload="W4", whole_seconds=300.0, status="stopped"),
        row("fastai", workload="W4", whole_seconds=250.0),  # all epochs, and not there
        row("trainer", workload="W4", whole_seconds=9.0, status="failed"),
    ]
    (verdict,) = judge_bars(rows)
    assert (verdict.ratio, verdict.reached) == (2.5, "yes")
    assert "at least" in verdict.text
    (unknown,) = judge_bars(rows[1:])
    assert unknown.reached == "not measured"


def test_the_accuracy_is_compared_with_that_of_the_fastest_peer() -> None:
    rows = [
        row("plain", workload="W2", whole_seconds=50.0, accuracy=0.8),
        row("fastai", workload="W2", whole_seconds=90.0, accuracy=0.9),
        row("hftune", workload="W2", whole_seconds=2.0, accuracy=0.84),
    ]
    speed, accuracy = judge_bars(rows)
    assert speed.ratio == 25.0
    assert accuracy.ratio == pytest.approx(1.05)


def test_the_page_shows_every_workload_that_was_run_and_no_other() -> None:
    text = page([*RATES, row("plain", workload="W6")], {"command": "x"}, checkpoints="| a |")
    shown = [line[3:5] for line in text.splitlines() if line.startswith("## W")]
    assert shown == ["W1", "W6", "W7"]
    assert "| plain tutorial loop | 7.00 | 1.00 | 0.25 | 3 |" in text
