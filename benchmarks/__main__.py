"""The benchmark suite: hftune, its peers and the limit, side by side in one run.

    python -m benchmarks [--workloads W1 W2 ...] [--peers NAME ...] [--quick] ...

Every run is a fresh process. The peers of a workload take turns, as often as it has repeats.
"""

import argparse
import shutil
import signal
import sys
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.environment import facts
from benchmarks.profiles import write_profiles
from benchmarks.suite import Settings, checkpoint_table, kept_rows, run_workload
from benchmarks.table import page
from benchmarks.workloads import HFTUNE, PEERS, WORKLOADS

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = "W7"


def main() -> None:
    """Run what was asked for and write the page."""
    settings, wanted = read_command_line()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # with all it started
    known = facts([Path(sys.executable).name, "-m", "benchmarks", *sys.argv[1:]])
    began = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    settings = replace(settings, part=f"{began}, commit {known['commit of hftune']}")
    rows = kept_rows(settings.folder, but=wanted.workloads) if wanted.keep else []
    settings.folder.mkdir(parents=True, exist_ok=True)
    if wanted.profile:
        write_profiles(settings, wanted.workloads)
        return
    for name in wanted.workloads:
        if name != CHECKPOINTS:
            run_workload(name, settings, rows)
            wanted.out.write_text(page(rows, known, checkpoints=None))  # kept if the next is cut
    checkpoints = checkpoint_table(settings) if CHECKPOINTS in wanted.workloads else None
    wanted.out.write_text(page(rows, known, checkpoints=checkpoints))
    print(f"written: {wanted.out}")
    if any(row.status == "failed" for row in rows):
        sys.exit("some runs failed; their output lies in " + str(settings.folder / "logs"))


def read_command_line() -> tuple[Settings, argparse.Namespace]:
    """Read and check what is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0]
    )
    has_gpu = torch.cuda.is_available()
    usual = [name for name in WORKLOADS if has_gpu or not WORKLOADS[name].needs_gpu]
    known = [*WORKLOADS, CHECKPOINTS]
    parser.add_argument("--workloads", nargs="+", choices=known, default=[*usual, CHECKPOINTS])
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--repeats", type=int, help="in place of each workload's own number")
    parser.add_argument("--train-images", type=int, help="in place of each workload's own number")
    parser.add_argument("--epochs", type=int, help="in place of each workload's own number")
    parser.add_argument("--batch-size", type=int, help="in place of each workload's own number")
    parser.add_argument("--workers", type=int, help="loader processes of the peers")
    parser.add_argument("--weights", type=Path, help="a folder in timm's Hub format, for all")
    parser.add_argument("--images", type=Path, help="a folder with train/ and val/, for all")
    parser.add_argument("--timm", type=Path, help="a checkout of timm's repository")
    parser.add_argument(
        "--allocator", choices=("same", "default"), default="same",
        help="the peers' allocator: one that keeps memory, as hftune's, or as they come",
    )  # fmt: skip
    parser.add_argument(
        "--keep", action="store_true",
        help="take the other workloads from earlier commands in this folder, for one page",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="tiny, to see that everything runs")
    parser.add_argument("--profile", action="store_true", help="profiles of W1 and W2 instead")
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench", help="data, logs, scratch")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "RESULTS.md")
    wanted = parser.parse_args()
    if "timm" in wanted.peers and wanted.timm is None:
        wanted.peers.remove("timm")
    if wanted.profile:
        wanted.workloads = [name for name in wanted.workloads if name in ("W1", "W2")]
        if shutil.which("py-spy") is None:
            parser.error("--profile needs py-spy: pip install 'hftune[bench]'")
        wanted.peers = [peer for peer in wanted.peers if peer in (HFTUNE, "plain")]
    names = {field.name for field in fields(Settings)} - {"part"}
    values = {name: value for name, value in vars(wanted).items() if name in names}
    return Settings(**values, has_gpu=has_gpu), wanted


if __name__ == "__main__":
    main()
