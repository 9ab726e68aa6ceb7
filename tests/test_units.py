"""Texts with a unit become numbers, and nothing else does."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftune.errors import RequestError, UnitError
from hftune.units import (
    Span,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
    parse_span,
)

relaxed = settings(deadline=None)  # a shared machine may pause anywhere


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("5%", 5, "percent"),
        ("0 %", 0, "percent"),
        ("100%", 100, "percent"),
        (" 12.5% ", 12.5, "percent"),
        ("1 step", 1, "steps"),
        ("300steps", 300, "steps"),
        ("1e3 steps", 1000, "steps"),
        (".5 epochs", 0.5, "epochs"),
        ("1 epoch", 1, "epochs"),
    ],
)
def test_spans(text: str, value: float, unit: str) -> None:
    span = parse_span(text)
    assert (span.value, span.unit) == (value, unit)


@pytest.mark.parametrize(
    "text",
    ["", "5", "%", "-1%", "101%", "1.5 steps", "1e400 steps", "nan%", "5 %%", "3 Epochs", "5% now"],
)
def test_texts_that_are_no_span(text: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_span(text)
    assert repr(text) in str(caught.value)
    assert caught.value.allowed


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("7 steps", 7),
        ("2 epochs", 200),
        ("0.5 epochs", 50),
        ("10%", 30),
        ("100%", 300),
        ("0.1%", 0),
    ],
)
def test_a_span_in_steps(text: str, steps: int) -> None:
    assert parse_span(text).steps(steps_per_epoch=100, total_steps=300) == steps


def test_a_share_needs_the_whole() -> None:
    with pytest.raises(UnitError, match="percentage"):
        Span(value=10, unit="percent").steps(steps_per_epoch=100)


@relaxed
@given(st.floats(0, 100), st.floats(0, 100), st.integers(1, 10**6))
def test_a_larger_share_is_never_fewer_steps(one: float, other: float, total: int) -> None:
    less, more = sorted((one, other))
    first, second = (
        Span(value=value, unit="percent").steps(steps_per_epoch=1, total_steps=total)
        for value in (less, more)
    )
    assert 0 <= first <= second <= total


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90 s", 90),
        ("90 sec", 90),
        ("1 second", 1),
        ("10 min", 600),
        ("1 minute", 60),
        ("1.5 h", 5400),
        ("2 hours", 7200),
        ("2 d", 172_800),
        ("1 day", 86_400),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "10 m", "10:30", "-5 s", "1e999 s", "5 months", "5 ms"])
def test_texts_that_are_no_duration(text: str) -> None:
    with pytest.raises(UnitError, match="cannot be read"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("0 B", 0),
        ("500 MiB", 500 * 1024**2),
        ("500 MB", 500 * 1000**2),
        ("20 GiB", 20 * 1024**3),
        ("1.5kB", 1500),
        ("1 KiB", 1024),
        ("2 TB", 2 * 1000**4),
    ],
)
def test_sizes(text: str, num_bytes: int) -> None:
    assert parse_size(text) == num_bytes


@pytest.mark.parametrize("text", ["", "20", "20 G", "20 gb", "20 Gib", "20 kiB", "-1 B"])
def test_texts_that_are_no_size(text: str) -> None:
    with pytest.raises(UnitError, match="cannot be read"):
        parse_size(text)


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (14_260_633, "13.6 MiB"),
        (3 * 1024**3, "3.0 GiB"),
        (5000 * 1024**4, "5000.0 TiB"),
    ],
)
def test_sizes_as_text(num_bytes: int, text: str) -> None:
    assert format_size(num_bytes) == text


@relaxed
@given(st.integers(0, 1 << 60))
def test_a_size_survives_its_text_to_one_decimal(num_bytes: int) -> None:
    # Half of the last decimal shown, of a value that is at least 1: 5 %.
    assert parse_size(format_size(num_bytes)) == pytest.approx(num_bytes, rel=0.05, abs=0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (100 * 3600, "100 h 00 min"),
    ],
)
def test_durations_as_text(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@relaxed
@given(st.text(max_size=20) | st.from_regex(r"[0-9.eE+-]{1,8} ?(%|steps|epochs|s|h|GiB)"))
def test_any_text_is_a_number_or_a_wrong_request(text: str) -> None:
    for parse in (parse_span, parse_duration, parse_size):
        with contextlib.suppress(UnitError):  # anything else would fail the test
            parse(text)


def test_a_wrong_unit_is_a_wrong_request_and_a_value_error() -> None:
    assert issubclass(UnitError, RequestError)
    assert issubclass(UnitError, ValueError)
