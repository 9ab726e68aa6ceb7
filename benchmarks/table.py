"""From rows to benchmarks/RESULTS.md: medians, ratios, and the bars."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measure import Row
from benchmarks.workloads import HFTUNE, LIMIT, PEERS, RATES, WORKLOADS, Bar, Workload

_HEADS = {
    "images_per_second": "images/s",
    "training_seconds": "training, s",
    "whole_seconds": "whole command, s",
    "reached_seconds": "to the accuracy, s",
    "first_step_seconds": "to the first step, s",
    "judging_images_per_second": "evaluation images/s",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "peak_mib": "peak MiB",
    "gpu_peak_mib": "GPU peak MiB",
}
_DIGITS = {"accuracy": 3, "balanced_accuracy": 3, "peak_mib": 0, "gpu_peak_mib": 0}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a bar; `ratio` is None where a side of it was not measured."""

    workload: str
    text: str
    ratio: float | None
    least: float

    @property
    def reached(self) -> str:
        """Say how it ended, in a word."""
        if self.ratio is None:
            return "not measured"
        return "yes" if self.ratio >= self.least else "**no**"


def median(rows: Sequence[Row], peer: str, name: str) -> float | None:
    """Give the median of a figure over a peer's repeats, None where there is none."""
    found = [getattr(row, name) for row in rows if row.peer == peer and row.status == "done"]
    known = [value for value in found if value is not None]
    return statistics.median(known) if known else None


def times_better(rows: Sequence[Row], name: str, *, than: str, peer: str = HFTUNE) -> float | None:
    """Give how many times better `peer` is in a figure than another."""
    own, other = median(rows, peer, name), median(rows, than, name)
    if not own or not other:
        return None
    return own / other if name in RATES else other / own


def best_peer(rows: Sequence[Row], name: str) -> str | None:
    """Give the peer that is best in a figure, hftune and the limit left out."""
    others = sorted({row.peer for row in rows} - {LIMIT} - _own())
    known = {peer: median(rows, peer, name) for peer in others}
    measured = {peer: value for peer, value in known.items() if value is not None}
    if not measured:
        return None
    return (max if name in RATES else min)(measured, key=lambda peer: measured[peer])


def judge_bars(rows: Sequence[Row]) -> list[Verdict]:
    """Give what became of every bar of the workloads that were run."""
    verdicts = []
    for name, workload in WORKLOADS.items():
        own = [row for row in rows if row.workload == name]
        if own:
            verdicts += [judge_bar(name, workload, bar, rows=own) for bar in workload.bars]
    return verdicts


def judge_bar(name: str, workload: Workload, bar: Bar, *, rows: Sequence[Row]) -> Verdict:
    """Give what became of a bar of a workload."""
    figure = bar.figure or workload.figure
    compared = workload.figure if bar.figure == "accuracy" else figure
    other = best_peer(rows, compared) if bar.against == "best" else bar.against
    shown = "no peer" if other is None else PEERS[other].title
    ratio = None if other is None else times_better(rows, figure, than=other)
    best = "the best peer, " if bar.against == "best" and compared == figure else ""
    text = f"{_HEADS[figure]} against {best}{shown}"
    if other is None and workload.until is not None:
        ratio = times_ahead(rows)
        text = f"{_HEADS[figure]}, at least: no peer got there"
    return Verdict(workload=name, text=text, ratio=ratio, least=bar.least)


def times_ahead(rows: Sequence[Row]) -> float | None:
    """Give how many times hftune's seconds every peer of a race had and did not get there in."""
    own = median(rows, HFTUNE, "reached_seconds")
    others = [
        row.whole_seconds for row in rows if row.peer not in _own() and row.status != "failed"
    ]
    known = [seconds for seconds in others if seconds is not None]
    return min(known) / own if own and known else None


def bars_table(verdicts: Sequence[Verdict]) -> str:
    """Give the bars as a table."""
    lines = ["| | what | ratio | bar | reached |", "|---|---|---:|---:|---|"]
    for one in verdicts:
        ratio = "-" if one.ratio is None else f"{one.ratio:.2f}"
        lines.append(f"| {one.workload} | {one.text} | {ratio} | {one.least:g} | {one.reached} |")
    return "\n".join(lines)


def workload_table(name: str, rows: Sequence[Row]) -> str:
    """Give one workload's peers side by side, each number the median of its repeats."""
    workload = WORKLOADS[name]
    shown = [
        head
        for head in _HEADS
        if any(getattr(row, head) is not None for row in rows)
        and not (workload.until is not None and head in ("images_per_second", "training_seconds"))
    ]
    best = best_peer(rows, workload.figure)
    heads = [_HEADS[head] for head in shown]
    lines = [
        "| " + " | ".join(["", *heads, "of the best peer", "of the limit", "runs"]) + " |",
        "|---" + "|---:" * (len(heads) + 3) + "|",
    ]
    for peer in (peer for peer in PEERS if any(row.peer == peer for row in rows)):
        cells = [_show(median(rows, peer, head), head) for head in shown]
        ratios = [
            _show(
                None if than is None else times_better(rows, workload.figure, than=than, peer=peer)
            )
            for than in (best, LIMIT)
        ]
        lines.append(
            "| " + " | ".join([PEERS[peer].title, *cells, *ratios, _runs(rows, peer)]) + " |"
        )
    return "\n".join(lines)


def when(rows: Sequence[Row]) -> str:
    """Say when and with which commit a workload was run; all its peers took turns in one run."""
    parts = list(dict.fromkeys(row.part for row in rows if row.part))
    return f"\n\nRun on {' and '.join(parts)}." if parts else ""


def _runs(rows: Sequence[Row], peer: str) -> str:
    """Give how many runs a peer's numbers stand for, and what became of others."""
    states = [row.status for row in rows if row.peer == peer]
    odd = {state: states.count(state) for state in states if state != "done"}
    return ", ".join([str(states.count("done")), *(f"{odd[state]} {state}" for state in odd)])


def _own() -> set[str]:
    return {name for name in PEERS if name.startswith(HFTUNE)}


def _show(value: float | None, head: str = "") -> str:
    return "-" if value is None else f"{value:,.{_DIGITS.get(head, 2)}f}"


def page(rows: Sequence[Row], facts: Mapping[str, str], *, checkpoints: str | None) -> str:
    """Give the whole page."""
    parts = [
        "# Results of the benchmark suite\n\nWritten by the command below. How to read it: "
        "docs/speed.md.",
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        "## Bars\n\nThe project's own goals, as ratios of medians; above 1 hftune is ahead.\n\n"
        + bars_table(judge_bars(rows)),
    ]
    for name, workload in WORKLOADS.items():
        own = [row for row in rows if row.workload == name]
        if own:
            parts.append(f"## {name}: {workload.title}\n\n{workload_table(name, own)}{when(own)}")
    if checkpoints is not None:
        parts.append(f"## W7: what a checkpoint costs\n\n{checkpoints}")
    return "\n\n".join(parts) + "\n"
