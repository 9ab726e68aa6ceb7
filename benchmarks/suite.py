"""Runs the workloads: which command for which peer, in which order, until when."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from benchmarks.environment import own_environment, peer_environment
from benchmarks.measure import End, Row, measure
from benchmarks.prepare import LITE0, images_folder, weights_folder
from benchmarks.table import best_peer, median
from benchmarks.workloads import HFTUNE, LIMIT, PEERS, WORKLOADS, Workload

QUICK_ARCHITECTURE = "test_efficientnet"
# A run that takes longer than this is stopped, and told as such.
MOST_SECONDS = 3600.0
# In a race, how many times hftune's seconds a peer has.
MOST_TIMES = 3.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What holds for every workload; None leaves a workload's own number."""

    folder: Path
    peers: Sequence[str]
    has_gpu: bool
    repeats: int | None = None
    train_images: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    workers: int | None = None
    weights: Path | None = None
    images: Path | None = None
    timm: Path | None = None
    allocator: Literal["same", "default"] = "same"
    quick: bool = False
    part: str = ""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A workload with its numbers settled and its files in place."""

    name: str
    workload: Workload
    weights: Path
    images: Path


def kept_rows(folder: Path, *, but: Sequence[str]) -> list[Row]:
    """Give the rows that earlier commands left, of each workload those of its last command.

    Workloads named in `but` are measured anew.
    """
    place = folder / "rows.jsonl"
    lines = place.read_text().splitlines() if place.is_file() else []
    rows = [Row(**json.loads(line)) for line in lines]
    last = {row.workload: row.part for row in rows}
    return [row for row in rows if row.workload not in but and row.part == last[row.workload]]


def run_workload(name: str, settings: Settings, rows: list[Row]) -> None:
    """Run a workload's peers in turn, once per repeat. Adds to `rows`."""
    prepared = prepare(name, settings)
    peers = [peer for peer in prepared.workload.peers if peer in settings.peers]
    for repeat in range(-1 if prepared.workload.is_warm else 0, prepared.workload.repeats):
        for peer in peers:
            row = Row(workload=name, peer=peer, repeat=repeat, part=settings.part)
            run_peer(row, prepared, settings, limit=time_limit(rows, prepared, peer))
            if repeat < 0:
                continue
            rows.append(row)
            with (settings.folder / "rows.jsonl").open("a") as stream:
                stream.write(row.to_json() + "\n")
            print(told(row, prepared.workload), flush=True)


def prepare(name: str, settings: Settings) -> Prepared:
    """Settle a workload's numbers and make its files."""
    workload = shortened(WORKLOADS[name], settings)
    data = settings.folder / "data"
    weights = settings.weights or weights_folder(data, workload.architecture)
    images = settings.images or images_folder(data, workload.images)
    return Prepared(name=name, workload=workload, weights=weights, images=images)


def shortened(workload: Workload, settings: Settings) -> Workload:
    """Give a workload with the numbers of the settings in place of its own."""
    if settings.quick:
        workload = replace(
            workload,
            architecture=QUICK_ARCHITECTURE,
            images=replace(workload.images, train=64, val=32),
            epochs=min(workload.epochs, 2),
            repeats=1,
            batch_size=16,
            until=None if workload.until is None else 0.0,
        )
    return replace(
        workload,
        images=replace(workload.images, train=settings.train_images or workload.images.train),
        epochs=settings.epochs or workload.epochs,
        repeats=settings.repeats or workload.repeats,
        batch_size=settings.batch_size or workload.batch_size,
    )


def time_limit(rows: Sequence[Row], prepared: Prepared, peer: str) -> float:
    """Give the seconds after which a run is stopped.

    In a race to an accuracy that is the best peer's time, since who is later is not the best, and
    never more than `MOST_TIMES` hftune's.
    """
    if prepared.workload.until is None or PEERS[peer].script == "with_hftune":
        return MOST_SECONDS
    own = [row for row in rows if row.workload == prepared.name]
    limits = [MOST_SECONDS]
    best = best_peer(own, "reached_seconds")
    if best is not None:
        limits.append(median(own, best, "reached_seconds") or MOST_SECONDS)
    hftune = median(own, HFTUNE, "reached_seconds")
    if hftune is not None:
        limits.append(MOST_TIMES * hftune)
    return min(limits)


def run_peer(row: Row, prepared: Prepared, settings: Settings, *, limit: float) -> None:
    """Run one peer once, in an empty scratch folder. Fills `row`."""
    workload = prepared.workload
    scratch = settings.folder / "scratch" / f"{row.workload}-{row.peer}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    log = settings.folder / "logs" / f"{row.workload}-{row.peer}-{row.repeat}.txt"
    end = End(at_first_step=workload.ends_at_first_step, accuracy=workload.until, seconds=limit)
    command = peer_command(row.peer, prepared, settings, scratch=scratch)
    measure(row, command, environment=environment_of(row, settings, scratch), end=end, log=log)
    shutil.rmtree(scratch, ignore_errors=True)


def peer_command(peer: str, prepared: Prepared, settings: Settings, *, scratch: Path) -> list[str]:
    """Give the command line of a peer's script."""
    workload, way = prepared.workload, PEERS[peer]
    launcher = []
    if way.needs_launcher:
        launcher = [
            *("-m", "accelerate.commands.launch", "--multi_gpu", "--mixed_precision", "no"),
            *("--num_processes", str(way.processes), "--num_machines", "1"),
            *("--dynamo_backend", "no", "--main_process_port", "0"),
        ]
    words = [
        *("--weights", str(prepared.weights), "--images", str(prepared.images)),
        *("--scratch", str(scratch), "--epochs", str(workload.epochs)),
        *("--batch-size", str(workload.batch_size), "--processes", str(way.processes)),
        *("--workers", str(loader_workers(settings, way.processes))),
        *("--precision", "bf16" if settings.has_gpu else "fp32"),
        *workload.words,
    ]
    options = peer_options(peer, workload, settings)
    return [
        *(sys.executable, *launcher, "-m", f"benchmarks.peers.{way.script}", *words),
        *(["--options", *options] if options else []),
    ]


def peer_options(peer: str, workload: Workload, settings: Settings) -> list[str]:
    """Give what one peer's script alone is told."""
    if PEERS[peer].script == "with_hftune":
        return list(workload.settings)
    return [str(settings.timm)] if peer == "timm" else []


def loader_workers(settings: Settings, processes: int) -> int:
    """Give the loader processes of each process of a peer: as many as cores, up to 16 in all."""
    if settings.workers is not None:
        return settings.workers
    cores = len(os.sched_getaffinity(0))
    return max(1, min(16, cores) // processes)


def environment_of(row: Row, settings: Settings, scratch: Path) -> dict[str, str]:
    """Give the environment of a run.

    hftune's command line settles its own allocator; evaluation is called from Python, which does
    not, so there it has that of the peers.
    """
    if WORKLOADS[row.workload].is_warm:
        scratch = settings.folder / "warm"
    by_command_line = (
        PEERS[row.peer].script == "with_hftune" and "evaluate" not in WORKLOADS[row.workload].words
    )
    if by_command_line:
        return own_environment(scratch)
    keeps_memory = settings.allocator == "same" and not WORKLOADS[row.workload].own_allocators
    return peer_environment(scratch, keeps_memory=keeps_memory or row.peer == LIMIT)


def told(row: Row, workload: Workload) -> str:
    """Give one line about a run that is over."""
    figure = getattr(row, workload.figure)
    shown = "-" if figure is None else f"{figure:.2f}"
    return f"{row.workload} {row.peer} {row.repeat}: {workload.figure} {shown}, {row.status}"


def checkpoint_table(settings: Settings) -> str:
    """Run benchmarks/checkpoint.py and give what it prints."""
    script = Path(__file__).parent / "checkpoint.py"
    architecture = QUICK_ARCHITECTURE if settings.quick else LITE0
    words = ["--models", architecture, "resnet50", "--repeats", "3"]
    if settings.quick:
        words = ["--models", architecture, "--repeats", "1"]
    done = subprocess.run(
        [sys.executable, str(script), *words, "--folder", str(settings.folder)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()
