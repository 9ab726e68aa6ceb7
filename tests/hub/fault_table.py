"""Every request of a pull and a push x every fault -> what becomes of it, as a table.

python -m tests.hub.fault_table [PAGE]    prints it, and writes it between the marks of a page
"""

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.hub.fault_cells import PULLED, PUSHED, Cell, Job, Outcome, cells, try_cells
from tests.hub.faulty import FAULTS, Kind

# Whether it was done with the fault once, and for ever.
_WORDS = {(True, False): "retried", (True, True): "done", (False, False): "stops"}
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"

_ENVIRONMENT = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "NO_PROXY": "127.0.0.1",
}


def table(outcomes: Sequence[Outcome], job: Job) -> str:
    """Give the Markdown table of one job: faults down, requests across."""
    kinds = PULLED if job == "pull" else PUSHED
    lines = ["| fault | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    for fault in FAULTS:
        words = [_word(outcomes, (job, kind, fault)) for kind in kinds]
        lines.append(f"| {fault} | " + " | ".join(words) + " |")
    return "\n".join(lines)


def _word(outcomes: Sequence[Outcome], place: tuple[Job, Kind, str]) -> str:
    """Say in a word what becomes of a request under a fault that comes once, and for ever."""
    found = {
        outcome.cell.times: outcome.error is None
        for outcome in outcomes
        if (outcome.cell.job, outcome.cell.kind, outcome.cell.fault.name) == place
    }
    return _WORDS[(found[1], found[None])] if found else "-"


def try_beside(wanted: Sequence[Cell], *, processes: int) -> list[Outcome]:
    """Try cells in several processes, since most of the time they wait.

    Not in threads: the client library has one session for all of them, which it closes at times.
    Changes the environment, which the library in the new processes reads when it is imported.
    """
    os.environ.update(_ENVIRONMENT)
    shares = [wanted[start :: processes * 4] for start in range(processes * 4)]
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_be_quiet
    ) as pool:
        return [outcome for part in pool.map(try_cells, shares) for outcome in part]


def _be_quiet() -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore", DeprecationWarning)


def main(arguments: Sequence[str]) -> None:
    outcomes = try_beside([*cells(times=1), *cells(times=None)], processes=24)
    errors = sum(outcome.error is not None for outcome in outcomes)
    text = (
        f"{len(outcomes)} trials: {len(outcomes) - errors} done in spite of the fault; {errors}"
        " ended in one error, after which the same command finished.\n\n"
        f"### Pull\n\n{table(outcomes, 'pull')}\n\n### Push\n\n{table(outcomes, 'push')}\n"
    )
    print(text)
    for page in arguments:
        _write_into(Path(page), text)


def _write_into(page: Path, text: str) -> None:
    """Put the table into a page, in place of the one between its two marks."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"{page} has no mark for the table"
    assert end, f"{page} has no mark for the table's end"
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{after}")


if __name__ == "__main__":
    main(sys.argv[1:])
