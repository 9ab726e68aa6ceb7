"""The part of the table of faults that every test run makes; `make faults` makes the whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hftune.hub.server import RunningHub, running
from tests.hub.fault_cells import (
    PULLED,
    PUSHED,
    Cell,
    Job,
    applies,
    cells,
    small_parts,
    try_cell,
)
from tests.hub.fault_table import BEGIN, END, try_beside
from tests.hub.faulty import FAULTS, Kind

# What the client library does not repeat by itself, so that a lasting fault costs no 23 seconds.
_OURS: tuple[Kind, ...] = ("info", "create", "commit")
# What once broke the promise: a card with a wrong byte was built upon, a branch was taken to be
# there, an answer without sense came out as a traceback.
_ONCE_BROKEN: tuple[tuple[Kind, str], ...] = (
    ("get small", "byte flipped"),
    ("branch", "page of HTML"),
    ("part", "page of HTML"),
)
_LASTING = ("429", "503", "reset", "stall", "answer lost", "page of HTML")
PAGE = Path(__file__).parents[2] / "docs" / "hub-failures.md"
REQUESTS: list[tuple[Job, Kind]] = [
    *(("pull", kind) for kind in PULLED),
    *(("push", kind) for kind in PUSHED),
]


def once() -> list[Cell]:
    """Give a cell for every request and one for every fault, no two faults of a request alike."""
    chosen: dict[tuple[Job, Kind], str] = {}
    for number, fault in enumerate(FAULTS.values()):
        fitting = [one for one in REQUESTS if applies(fault, one[1]) and one not in chosen]
        chosen[fitting[(number * 7) % len(fitting)]] = fault.name
    for number, (job, kind) in enumerate(REQUESTS):
        fitting_faults = [name for name, fault in FAULTS.items() if applies(fault, kind)]
        chosen.setdefault((job, kind), fitting_faults[(number * 5) % len(fitting_faults)])
    return [
        Cell(job=job, kind=kind, fault=FAULTS[name], times=1)
        for (job, kind), name in chosen.items()
    ]


def lasting() -> list[Cell]:
    return [
        Cell(job="push", kind=_OURS[number % len(_OURS)], fault=FAULTS[name], times=None)
        for number, name in enumerate(_LASTING)
    ]


def once_broken() -> list[Cell]:
    return [Cell(job="push", kind=kind, fault=FAULTS[name], times=1) for kind, name in _ONCE_BROKEN]


def twice() -> list[Cell]:
    """Give cells with as many faults in a row as three attempts bear."""
    return [
        Cell(job=job, kind=kind, fault=FAULTS[name], times=2)
        for job, kind, name in (("pull", "info", "503"), ("push", "commit", "reset"))
    ]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running(tmp_path_factory.mktemp("faulty-hub")) as hub, small_parts():
        yield hub


@pytest.mark.parametrize("cell", once() + twice() + lasting() + once_broken(), ids=str)
def test_fault_is_overcome_or_ends_in_one_error(
    cell: Cell, hub: RunningHub, tmp_path: Path
) -> None:
    try_cell(cell, hub, tmp_path)


def test_every_request_and_every_fault_is_tried() -> None:
    tried = once()
    assert {(cell.job, cell.kind) for cell in tried} == set(REQUESTS)
    assert {cell.fault.name for cell in tried} == set(FAULTS)


def test_page_has_the_whole_table() -> None:
    text = PAGE.read_text()
    _, _, rest = text.partition(BEGIN)
    made, _, _ = rest.partition(END)
    for kinds in (PULLED, PUSHED):
        assert "| fault | " + " | ".join(kinds) + " |" in made
    assert [made.count(f"\n| {name} | ") for name in FAULTS] == [2] * len(FAULTS)
    assert f"{len([*cells(times=1), *cells(times=None)])} trials" in made


@pytest.mark.chaos
def test_whole_table() -> None:
    wanted = [*cells(times=1), *cells(times=None)]
    outcomes = try_beside(wanted, processes=24)
    assert [outcome.cell for outcome in outcomes if outcome.requests == 0] == []
    assert len(outcomes) == len(wanted)
