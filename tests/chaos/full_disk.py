"""Runs on a disk that fills up at a random moment; then there is room, and they go on.

    python -m tests.chaos.full_disk --sizes 20 [--seed 0]

The run's folder lies on a small tmpfs, so this needs the right to mount one. Prints one JSON
object.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.kills import Stage, finish, outcome, start
from tests.chaos.small_run import draw_images, write_recipe

_ROOM = 2**30
_MOUNT = ("mount", "-t", "tmpfs")


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mount a tmpfs of `size` bytes at `folder`."""
    folder.mkdir(exist_ok=True)
    subprocess.run([*_MOUNT, "-o", f"size={size}", "hftune", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def resize(folder: Path, size: int) -> None:
    """Give the disk at `folder` another size in bytes."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def used(folder: Path) -> int:
    """Give the bytes in use on the disk of `folder`."""
    disk = os.statvfs(folder)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize


def may_mount() -> bool:
    """Say whether this process may mount a tmpfs."""
    with tempfile.TemporaryDirectory() as name:
        done = subprocess.run([*_MOUNT, "hftune", name], capture_output=True, check=False)
        if done.returncode == 0:
            subprocess.run(["umount", name], check=True)
        return done.returncode == 0


def one_size(stage: Stage, disk: Path, size: int, expected: dict[str, str]) -> dict[str, object]:
    """Run on a disk of `size` bytes, then make room and let the same command go on."""
    said = stage.folder / "said-0.txt"
    said.write_text("")
    with small_disk(disk, _ROOM):
        lives = start(stage, disk / "run")
        while not (disk / "run" / "recipe.yaml").exists():  # room is looked at before that
            time.sleep(0.001)
        resize(disk, max(size, used(disk)))
        codes = finish(lives)
        first = said.read_text()
        said.write_text("")
        resize(disk, _ROOM)
        after = finish(start(stage, disk / "run"))
        same = after == [0] and outcome(disk / "run") == expected
    return {
        "size": size,
        "code": None if codes is None else codes[0],
        "message": "no space left on the disk" in first,
        "traceback": "Traceback" in first + said.read_text(),
        "same": same,
        "last": first.strip().splitlines()[-8:],
    }


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hftune-chaos-") as name:
        folder, disk = Path(name), Path(name) / "disk"
        os.environ["HFTUNE_CACHE"] = str(folder / "cache")
        draw_images(folder / "images")
        stage = Stage(folder=folder, recipe=write_recipe(folder, workers=0), processes=1)
        with small_disk(disk, _ROOM):
            if finish(start(stage, disk / "run")) != [0]:
                sys.exit((folder / "said-0.txt").read_text())
            expected, whole = outcome(disk / "run"), used(disk)
        draw = random.Random(wanted.seed)
        page = os.sysconf("SC_PAGE_SIZE")
        sizes = sorted(draw.sample(range(page, whole, page), min(wanted.sizes, whole // page - 1)))
        found = [one_size(stage, disk, size, expected) for size in sizes]
    print(json.dumps({"whole": whole, "sizes": found}, indent=1))


if __name__ == "__main__":
    # Imported before the first fork, so that a life begins in moments.
    import tests.chaos.whole_life  # noqa: F401

    main()
