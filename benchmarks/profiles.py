"""Where the time goes: py-spy's samples of the plain loop and of hftune, in tables.

Only threads that do something are counted. A sample belongs to the innermost Python function; time
in kernels counts for the function that called them.
"""

import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.environment import peer_environment
from benchmarks.suite import Settings, peer_command, prepare
from benchmarks.workloads import HFTUNE

TARGET = Path(__file__).parent / "profiles"
_MOST_LINES = 25
# Starts hftune and waits for it; that is no part of what is looked at.
_WATCHER = "with_hftune.py"


def write_profiles(settings: Settings, workloads: Sequence[str]) -> None:
    """Write benchmarks/profiles/WORKLOAD-PEER.md for hftune and the plain loop."""
    TARGET.mkdir(exist_ok=True)
    for name in workloads:
        for peer in (peer for peer in ("plain", HFTUNE) if peer in settings.peers):
            stacks = record(name, peer, settings)
            path = TARGET / f"{name}-{peer}.md"
            path.write_text(f"# {name}, {peer}: where the time goes\n\n{summary(stacks)}\n")
            print(f"written: {path}")


def record(name: str, peer: str, settings: Settings) -> list[str]:
    """Run a peer under py-spy, with all its processes; give its folded stacks."""
    prepared = prepare(name, settings)
    with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        scratch = Path(folder)
        folded = scratch / "stacks.txt"
        command = peer_command(peer, prepared, settings, scratch=scratch / "peer")
        subprocess.run(
            [
                *("py-spy", "record", "--subprocesses", "--rate", "50", "--format", "raw"),
                *("--output", str(folded), "--", *command),
            ],
            # Settled beforehand: py-spy does not follow a command that starts itself anew.
            env=peer_environment(scratch, keeps_memory=True),
            check=True,
        )
        return folded.read_text().splitlines()


def summary(stacks: Iterable[str]) -> str:
    """Give the functions with the most samples of their own, from lines 'a;b;c COUNT'."""
    own: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        frames = [frame for frame in stack.split(";") if not frame.startswith("process ")]
        if frames and _WATCHER not in stack:
            own[_function(frames[-1])] += int(count)
    total = own.total()
    lines = [f"{total} samples.", "", "| share | function |", "|---:|---|"]
    lines += [
        f"| {count / total:.1%} | {function} |" for function, count in own.most_common(_MOST_LINES)
    ]
    return "\n".join(lines)


def _function(frame: str) -> str:
    """Give 'name (folder/file.py)' of a frame 'name (path/folder/file.py:12)'."""
    name, _, place = frame.partition(" (")
    path = place.rstrip(")").rpartition(":")[0] or place.rstrip(")")
    return f"{name} ({'/'.join(path.split('/')[-2:])})"
