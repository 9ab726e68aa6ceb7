"""Runs that end while they make features and write decoded images, then are started again.

    python -m tests.chaos.kept [--chains 5] [--strikes 3] [--processes 1] [--seed 0]

A chain is one run with empty caches. Its first life ends at a random moment of a random place: in
the middle of an image's pixels or its place in the index, of a file of features, or between two
batches that a frozen prefix is run over; killed, or by a stop signal. So do the next ones, each
started by the same call, and then it may finish. Compared with an undisturbed run are the weights,
metrics and results, and all that the caches hold. Without --chains there is one, of fixed strikes
that meet every place. Prints one JSON object.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.kills import Stage, cache_of, finish, forked, outcome, remove
from tests.chaos.small_run import KEEPING, KEEPING_IMAGES, draw_images, write_recipe

# How often a run comes by: pixels and place of each image, parts of either phase, their batches.
PLACES = {"image": 2 * (KEEPING_IMAGES + 13), "part": 2 * 3, "batch": 2 * 19}


@dataclass(frozen=True, kw_only=True)
class Strike:
    """A signal that a process sends itself when it comes by `place` for the `number`-th time."""

    place: str
    number: int
    signal: signal.Signals
    rank: int = 0


FIXED = (
    Strike(place="image", number=61, signal=signal.SIGKILL),  # pixels
    Strike(place="image", number=40, signal=signal.SIGKILL),  # a place in the index
    Strike(place="batch", number=5, signal=signal.SIGTERM),
    Strike(place="part", number=2, signal=signal.SIGKILL),
)


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """What a run ends in, and what its caches hold."""

    outcome: dict[str, str]
    cached: dict[str, str]


@dataclass(kw_only=True)
class Tally:
    """What happened over all chains."""

    chains: int = 0
    kills: int = 0
    stops: int = 0
    half: int = 0
    different: list[str] = field(default_factory=list)
    hung: int = 0


def arm(strike: Strike) -> None:
    """Let this process be struck: in a file, half of it is written by then."""
    from hftune.data import image_cache
    from hftune.train import feature_cache, feature_store

    passed = 0

    def comes(place: str) -> bool:
        nonlocal passed
        passed += place == strike.place
        return place == strike.place and passed == strike.number

    def write_image(descriptor: int, content: bytes, offset: int) -> None:
        if comes("image"):
            os.pwrite(descriptor, content[: len(content) // 2], offset)
            os.kill(os.getpid(), strike.signal)
        write_all(descriptor, content, offset)

    def write_part(tensors: dict[str, Any], path: Path) -> None:
        save_file(tensors, path)
        if comes("part"):
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
            os.kill(os.getpid(), strike.signal)
            path.write_bytes(whole)

    def run_batch(*given: Any) -> Any:
        if comes("batch"):
            os.kill(os.getpid(), strike.signal)
        return run(*given)

    write_all, save_file, run = image_cache._write_all, feature_store.save_file, feature_cache._run
    image_cache._write_all = write_image
    feature_store.save_file = write_part
    feature_cache._run = run_batch


def live(stage: Stage, run: Path, strike: Strike | None = None) -> list[int]:
    """Be one life of a run, which `strike` may end; give its codes, [] where it hung."""
    os.environ["HFTUNE_CACHE"] = str(cache_of(run))  # also for who looks into it afterwards

    def life(rank: int) -> int:
        from tests.chaos.whole_life import whole_life

        if strike is not None and rank == strike.rank:
            arm(strike)
        return whole_life(stage.recipe, run)

    return finish(forked(stage, life)) or []


def cached() -> dict[str, str]:
    """Give the digest of every image and every part of features that would be read."""
    from hftune.cache_folders import list_entries
    from hftune.data.image_cache import open_cache
    from hftune.files import digest_file

    parts = list_entries("features")
    found = {entry.key: digest_file(entry.folder / "rows.safetensors") for entry in parts}
    for entry in list_entries("images"):
        cache = open_cache(entry.key, limit=None)
        assert cache is not None
        for position in range(KEEPING_IMAGES):
            image = cache.get(position)
            if image is not None:
                found[f"{entry.key} {position}"] = hashlib.sha256(image.tobytes()).hexdigest()
    return found


def one_chain(
    stage: Stage, run: Path, *, strikes: Sequence[Strike], whole: Undisturbed, tally: Tally
) -> None:
    """Strike a run again and again, let it finish, and note all that differs."""
    for strike in strikes:
        codes = live(stage, run, strike)
        tally.kills += -signal.SIGKILL in codes
        tally.stops += 75 in codes
        tally.hung += not codes
        tally.half += len(list(cache_of(run).glob("*/.*.part")))
        if cached().items() - whole.cached.items():
            tally.different.append(f"{run.name}: the caches after {strike}")
    codes = live(stage, run)
    tally.chains += 1
    if set(codes) != {0}:
        tally.different.append(f"{run.name}: ended with {codes}")
        return
    found, wanted = outcome(run), whole.outcome
    names = sorted(wanted.keys() | found.keys())
    tally.different += [
        f"{run.name}: {name}" for name in names if wanted.get(name) != found.get(name)
    ]
    if cached() != whole.cached:
        tally.different.append(f"{run.name}: the caches")


def drawn_strikes(draw: random.Random, number: int, *, processes: int) -> list[Strike]:
    """Draw strikes of random places, moments and processes, two of three of them kills."""
    return [
        Strike(
            place=(place := draw.choice(list(PLACES))),
            number=draw.randint(1, PLACES[place] // processes),
            signal=draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)),
            rank=draw.randrange(processes),
        )
        for _ in range(number)
    ]


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chains", type=int, default=0)
    parser.add_argument("--strikes", type=int, default=3, help="strikes of each chain")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    draw, tally = random.Random(wanted.seed), Tally()
    with tempfile.TemporaryDirectory(prefix="hftune-chaos-") as name:
        folder = Path(name)
        draw_images(folder / "images", train=KEEPING_IMAGES)
        recipe = write_recipe(folder, workers=0, text=KEEPING)
        stage = Stage(folder=folder, recipe=recipe, processes=wanted.processes)
        if set(live(stage, folder / "undisturbed")) != {0}:
            sys.exit((folder / "said-0.txt").read_text())
        whole = Undisturbed(outcome=outcome(folder / "undisturbed"), cached=cached())
        chains = [
            drawn_strikes(draw, wanted.strikes, processes=wanted.processes)
            for _ in range(wanted.chains)
        ]
        for number, strikes in enumerate(chains or [FIXED]):
            run = folder / f"run-{number}"
            one_chain(stage, run, strikes=strikes, whole=whole, tally=tally)
            remove(run)
            print(tally, file=sys.stderr)
        said = (folder / "said-0.txt").read_text()
    print(json.dumps(vars(tally) | {"tracebacks": said.count("Traceback")}))


if __name__ == "__main__":
    # Imported before the first fork, so that a life begins in moments.
    import tests.chaos.whole_life  # noqa: F401

    main()
