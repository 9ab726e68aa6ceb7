"""Runs that are killed again and again, each compared with one that was left alone.

    python -m tests.chaos.kills --runs 20 --kills 10 [--processes 1] [--workers 0] [--seed 0]
        [--keeping]

Everything is imported once; each life of a run is a fork that trains, judges and packages a small
model until it is killed: after a random time, at a random change of its folder (so also in the
middle of a commit), or by a stop signal at a random time. The same call then goes on. With
--keeping it is a run that keeps decoded images and features, each time in an empty cache, whose
changes count as well. Prints one JSON object.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.small_run import KEEPING, KEEPING_IMAGES, RECIPE, draw_images, write_recipe

# A life that takes longer than this hangs; a whole one takes a few seconds.
LONGEST_LIFE = 240.0

_CHANGES = frozenset({"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "open"})


@dataclass(kw_only=True)
class Tally:
    """What happened over all runs."""

    runs: int = 0
    kills: int = 0
    stops: int = 0
    by_time: int = 0
    by_change: int = 0
    in_commit: int = 0
    largest_loss: int = 0
    different: list[str] = field(default_factory=list)
    hung: int = 0
    codes: list[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where runs happen: folder, recipe file, processes per run; if each has caches of its own."""

    folder: Path
    recipe: Path
    processes: int
    own_caches: bool = False


def cache_of(run: Path) -> Path:
    """Give the folder of a run's own caches; its path begins as the run's."""
    return Path(f"{run}-cache")


def forked(stage: Stage, life: Callable[[int], int]) -> list[int]:
    """Fork the processes of one life of a run; each ends with the code that `life(rank)` gives."""
    port = free_port()
    lives = []
    for rank in range(stage.processes):
        process = os.fork()
        if process == 0:
            _settle(stage, rank, port)
            code = life(rank)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        lives.append(process)
    return lives


def _settle(stage: Stage, rank: int, port: int) -> None:
    """Make a fork a process of its own: session, output, and what a launcher tells it."""
    os.setsid()
    said = os.open(stage.folder / f"said-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    if stage.processes > 1:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(stage.processes),
            LOCAL_WORLD_SIZE=str(stage.processes), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        )  # fmt: skip


def die_at_change(run: Path, number: int | None, count: Path | None) -> Callable[[], None]:
    """Watch the changes of the run's folder, and be killed at change `number`.

    Gives what writes how many there were to `count`.
    """
    changes = 0
    own = os.getpid()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        if event not in _CHANGES or not str(arguments[0]).startswith(str(run)):
            return
        if os.getpid() != own:  # a worker that loads images and puts them into a cache
            return
        if event == "open" and not int(arguments[2]) & (os.O_WRONLY | os.O_RDWR):
            return
        changes += 1
        if changes == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def note() -> None:
        if count is not None:
            count.write_text(str(changes))

    sys.addaudithook(watch)
    return note


def start(
    stage: Stage, run: Path, *, dying: int | None = None, die_at: int | None = None
) -> list[int]:
    """Fork one life of a run; the rank `dying` is killed at its change number `die_at`."""

    def life(rank: int) -> int:
        from tests.chaos.whole_life import whole_life

        if stage.own_caches:
            os.environ["HFTUNE_CACHE"] = str(cache_of(run))
        note = die_at_change(
            run,
            die_at if rank == dying else None,
            stage.folder / "changes.txt" if rank == 0 else None,
        )
        code = whole_life(stage.recipe, run)
        note()
        return code

    return forked(stage, life)


def finish(lives: list[int]) -> list[int] | None:
    """Wait until all have ended and give their codes; None where one hung (all are ended then)."""
    codes: dict[int, int] = {}
    deadline = time.monotonic() + LONGEST_LIFE
    while len(codes) < len(lives) and time.monotonic() < deadline:
        for process in lives:
            if process not in codes:
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    codes[process] = os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    hung = [process for process in lives if process not in codes]
    for process in hung:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return None if hung else [codes[process] for process in lives]


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reached(run: Path) -> int:
    """Give the last step that the run reported."""
    last = 0
    with suppress(FileNotFoundError):
        for line in (run / "metrics.jsonl").read_text().splitlines():
            with suppress(ValueError):  # cut short by the kill
                entry = json.loads(line)
                last = max(last, entry["step"])
    return last


def kept(run: Path) -> int:
    """Give the step of the newest checkpoint."""
    folders = sorted((run / "checkpoints").glob("step-*"))
    return int(folders[-1].name.removeprefix("step-")) if folders else 0


def weights_of(run: Path) -> dict[str, str]:
    """Give the digests of all weights that a run ends in."""
    from hftune.files import digest_file

    newest = max((run / "checkpoints").glob("step-*"))
    folders = (newest, run / "best", run / "artifact")
    names = [path for folder in folders for path in folder.glob("*.safetensors")]
    return {path.relative_to(run).as_posix(): digest_file(path) for path in names}


def outcome(run: Path) -> dict[str, str]:
    """Give the digest of everything that a run ends in, times left out."""
    from hftune.files import digest_json

    found = weights_of(run)
    results = json.loads((run / "results.json").read_text())
    for timed in ("seconds", "images_per_second"):
        results.pop(timed)
    found["results.json"] = digest_json(results)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        for timed in ("images_per_second", "waiting"):
            line.pop(timed, None)
    found["metrics.jsonl"] = digest_json(lines)
    return found


def disturb(
    stage: Stage, run: Path, draw: random.Random, tally: Tally, *, length: float, changes: int
) -> None:
    """Start a run and end it at a random moment, in one of three ways."""
    kind = draw.choice(("time", "change", "change", "stop"))
    dying = draw.randrange(stage.processes)
    die_at = draw.randint(1, changes) if kind == "change" else None
    if kind == "change":
        dying = 0  # the rank that writes
    before = {path.name for path in (run / "checkpoints").glob(".*.part")}
    lives = start(stage, run, dying=dying, die_at=die_at)
    if kind != "change":
        time.sleep(draw.uniform(0.0, length))
        number = signal.SIGKILL if kind == "time" else signal.SIGTERM
        for process in lives if kind == "stop" else [lives[dying]]:
            with suppress(ProcessLookupError):
                os.kill(process, number)
    codes = finish(lives)
    if codes is None:
        tally.hung += 1
        return
    tally.codes.extend(codes)
    if kind == "stop":
        tally.stops += 75 in codes
    elif -signal.SIGKILL in codes:
        tally.kills += 1
        tally.by_time += kind == "time"
        tally.by_change += kind == "change"
        after = {path.name for path in (run / "checkpoints").glob(".*.part")}
        tally.in_commit += bool(after - before)
    tally.largest_loss = max(tally.largest_loss, reached(run) - kept(run))


def one_run(
    stage: Stage, run: Path, draw: random.Random, tally: Tally, *, kills: int, length: float,
    changes: int, expected: dict[str, str],
) -> None:  # fmt: skip
    """Disturb a run until it was killed `kills` times, let it finish, and compare."""
    wanted = tally.kills + kills
    while tally.kills < wanted and tally.hung == 0:
        disturb(stage, run, draw, tally, length=length, changes=changes)
        if (run / "results.json").exists():  # it finished before it could be killed often enough
            compare(stage, run, tally, expected)
            remove(run)
    compare(stage, run, tally, expected)


def remove(run: Path) -> None:
    """Remove a run and its caches."""
    for folder in (run, cache_of(run)):
        shutil.rmtree(folder, ignore_errors=True)


def compare(stage: Stage, run: Path, tally: Tally, expected: dict[str, str]) -> None:
    """Let a run go on to its end and note every file that differs from the undisturbed one's."""
    codes = finish(start(stage, run))
    tally.runs += 1
    if codes is None or any(codes):
        tally.different.append(f"{run.name}: ended with {codes}")
        return
    found = outcome(run)
    names = expected.keys() | found.keys()
    tally.different += [
        f"{run.name}: {name}" for name in sorted(names) if expected.get(name) != found.get(name)
    ]


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--kills", type=int, default=10, help="kills of each run")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keeping", action="store_true")
    wanted = parser.parse_args()
    draw, tally = random.Random(wanted.seed), Tally()
    with tempfile.TemporaryDirectory(prefix="hftune-chaos-") as name:
        folder = Path(name)
        os.environ["HFTUNE_CACHE"] = str(folder / "cache")
        draw_images(folder / "images", train=KEEPING_IMAGES if wanted.keeping else 32)
        text = KEEPING if wanted.keeping else RECIPE
        recipe = write_recipe(folder, workers=wanted.workers, text=text)
        stage = Stage(
            folder=folder,
            recipe=recipe,
            processes=wanted.processes,
            own_caches=wanted.keeping,
        )
        before = time.monotonic()
        first = folder / "undisturbed"
        codes = finish(start(stage, first))
        if codes is None or any(codes):
            sys.exit((folder / "said-0.txt").read_text())
        length = time.monotonic() - before
        changes, expected = int((folder / "changes.txt").read_text()), outcome(first)
        for number in range(wanted.runs):
            run = folder / f"run-{number}"
            one_run(
                stage, run, draw, tally, kills=wanted.kills, length=length, changes=changes,
                expected=expected,
            )  # fmt: skip
            remove(run)
            print(f"{tally.runs} runs, {tally.kills} kills", file=sys.stderr)
        said = (folder / "said-0.txt").read_text()
    tracebacks = said.count("Traceback")
    if tracebacks:
        print(said[max(0, said.index("Traceback") - 500) :][:8000], file=sys.stderr)
    tally.codes = sorted(set(tally.codes))
    print(json.dumps(vars(tally) | {"tracebacks": tracebacks, "changes": changes}))


if __name__ == "__main__":
    # Imported before the first fork, so that a life begins in moments.
    import tests.chaos.whole_life  # noqa: F401

    main()
