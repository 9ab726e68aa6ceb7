"""The arithmetic of several devices, and the page that explains it."""

import re
from pathlib import Path

import pytest

from benchmarks.scaling import all_reduce_seconds, predicted_efficiency

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
ROW = re.compile(r"\| (\d+) \| (\d+) GB/s.*\| (\d) \| ([\d.]+) ms \| [\d.]+ ms \| ([\d.]+)% \|")
STEP, GRADIENTS = 25.6e-3, 102e6


def test_an_exchange_by_hand():
    # 8 devices send and receive 7/8 of 8 bytes twice, at 2 bytes/s, over 3 hops each way.
    assert all_reduce_seconds(8, bandwidth=2, ranks=8) == pytest.approx(7 + 6 * 10e-6)


def test_what_fits_beside_backward_is_not_waited_for():
    # 2 s at 50 MiB/s, half of it in the last bucket; backward takes 6 of 9 s.
    size = 50 * 2**20
    share = predicted_efficiency(9.0, size, bandwidth=size / 2, ranks=2)
    assert share == pytest.approx(9 / (9 + 1.0), rel=1e-4)


def test_what_does_not_fit_is_waited_for_once_a_step():
    # 16 s of exchange, 6 s of backward: 10 s are waited for, after one micro-batch or after ten.
    size = 50 * 2**20
    one, ten = (
        predicted_efficiency(9.0, size, bandwidth=size / 16, ranks=2, accumulation=number)
        for number in (1, 10)
    )
    assert one == pytest.approx(9 / 19, rel=1e-4)
    assert ten == pytest.approx(90 / 100, rel=1e-4)


def test_the_page_says_what_the_formula_gives():
    rows = [ROW.fullmatch(line) for line in PAGE.read_text(encoding="utf-8").splitlines()]
    found = [row.groups() for row in rows if row is not None]
    assert len(found) == 5
    for ranks, speed, accumulation, exchange, share in found:
        bandwidth, number = 1e9 * int(speed), int(ranks)
        seconds = all_reduce_seconds(GRADIENTS, bandwidth=bandwidth, ranks=number)
        assert f"{1e3 * seconds:.2f}" == exchange
        efficiency = predicted_efficiency(
            STEP, GRADIENTS, bandwidth=bandwidth, ranks=number, accumulation=int(accumulation)
        )
        assert f"{efficiency:.1%}" == f"{share}%"
