"""Scenes of two processes, of which one ends in some way; FOLDER/SCENE.json tells how both ended.

Run as `scenes.py FOLDER`. The processes are forked, so that torch is loaded once, and find each
other by the environment alone, as under srun: there is no launcher that would end one for the
other. A beat is an eighth of the usual, and so are all limits.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hftune.errors import DataError, HftuneError, Stopped
from hftune.train.liveness import lost_processes, speaks
from hftune.train.world import join_world, wait_for_all

BEAT = 0.25
LONG = 8.0  # seconds; silence of 5 seconds is taken for death
BAD = DataError("image 7 is bad", remedy="look at it")


def compute(seconds: float) -> None:
    """Be busy in Python, without the others."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def end_self(number: int) -> None:
    os.kill(os.getpid(), number)


def fail(error: Exception) -> None:
    raise error


def nothing() -> None:
    """Go on at once."""


# What the first and the second process do between two barriers.
SCENES: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
    "all done": (nothing, nothing),
    "one waits alone for long": (lambda: time.sleep(LONG), nothing),
    "one computes alone for long": (nothing, lambda: compute(LONG)),
    "killed in a barrier": (nothing, lambda: end_self(signal.SIGKILL)),
    "killed while the other works": (lambda: time.sleep(60), lambda: end_self(signal.SIGKILL)),
    "frozen in a barrier": (nothing, lambda: end_self(signal.SIGSTOP)),
    "first killed": (lambda: end_self(signal.SIGKILL), nothing),
    "first frozen": (lambda: end_self(signal.SIGSTOP), nothing),
    "error on one": (nothing, lambda: fail(BAD)),
    "error on both": (lambda: fail(BAD), lambda: fail(BAD)),
    "error while the other works": (lambda: time.sleep(60), lambda: fail(BAD)),
    "defect on one": (nothing, lambda: fail(ValueError("a defect"))),
    "stopped alone": (nothing, lambda: fail(Stopped("stopped after step 3"))),
}
# What each does after the last barrier.
ENDINGS = {"first done early": (nothing, lambda: time.sleep(LONG))}
WITHOUT_A_WORD = "left without a word"


def play(scene: str) -> None:
    """Be one process of a scene, until its end."""
    if scene == WITHOUT_A_WORD:  # a program that knows nothing of `lost_processes`
        rank = join_world(beat=BEAT).rank
        wait_for_all()
        time.sleep(LONG if rank == 1 else 0)
        return
    with lost_processes():
        rank = join_world(beat=BEAT).rank
        wait_for_all()
        SCENES.get(scene, (nothing, nothing))[rank]()
        wait_for_all()
        ENDINGS.get(scene, (nothing, nothing))[rank]()


def run(scene: str) -> int:
    """Play, and print what the command line would print."""
    try:
        play(scene)
    except HftuneError as error:
        if speaks():
            print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start(scene: str, rank: int, port: int, said: Path) -> int:
    """Fork a process of a scene; give its id here, and never return there."""
    if (child := os.fork()) > 0:
        return child
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    sys.exit(run(scene))


def endings(children: list[int]) -> list[int | str]:
    """Wait for the processes of a scene; one that is frozen stays so until the other ended."""
    codes: list[int | str] = []
    for child in children:
        _, status = os.waitpid(child, os.WUNTRACED)
        frozen = os.WIFSTOPPED(status)
        codes.append("frozen" if frozen else os.waitstatus_to_exitcode(status))
    for child, code in zip(children, codes, strict=True):
        if code == "frozen":
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return codes


def main(folder: Path) -> None:
    children = {}
    for scene in [*SCENES, *ENDINGS, WITHOUT_A_WORD]:
        port, said = free_port(), folder / f"{scene}.txt"
        children[scene] = [start(scene, rank, port, said) for rank in (0, 1)]
    for scene, pair in children.items():
        result = {"codes": endings(pair), "err": (folder / f"{scene}.txt").read_text()}
        (folder / f"{scene}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
