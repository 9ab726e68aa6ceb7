"""Memory of a machine as the kernel tells it, with and without limits of control groups."""

from pathlib import Path

import pytest
import torch

from hftune.train.machine_memory import device_memory, machine_memory, peak_memory

MIB = 2**20


def machine(root: Path, *, group: str) -> Path:
    """Write what a machine of 1000 MiB, 600 of them available, tells a process of 50 MiB."""
    own = root / "proc/self"
    own.mkdir(parents=True)
    (root / "proc/meminfo").write_text(
        f"MemTotal:       {1000 * 1024} kB\nMemFree: 7 kB\nMemAvailable:   {600 * 1024} kB\n"
    )
    (own / "status").write_text(f"Name:\tpython\nVmHWM:\t 9 kB\nVmRSS:\t   {50 * 1024} kB\n")
    (own / "cgroup").write_text(group)
    return root


def limit(folder: Path, names: tuple[str, str], *, most: object, used: int, stat: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{most}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{stat}\n")


def told(root: Path) -> tuple[int, int, int]:
    memory = machine_memory(root)
    assert memory.room == memory.free + memory.own
    return memory.total // MIB, memory.free // MIB, memory.own // MIB


def test_without_limits_it_is_the_machines(tmp_path):
    assert told(machine(tmp_path, group="0::/\n")) == (1000, 600, 50)


@pytest.mark.parametrize(
    ("most", "used", "expected"),
    [
        ("max", 300 * MIB, (1000, 600, 50)),
        (400 * MIB, 300 * MIB, (400, 120, 50)),  # 20 MiB of files would be dropped
        (400 * MIB, 500 * MIB, (400, 0, 50)),
        (4000 * MIB, 300 * MIB, (1000, 600, 50)),
    ],
)
def test_a_group_of_the_second_kind_limits_it(most, used, expected, tmp_path):
    root = machine(tmp_path, group="0::/user/job\n")
    limit(root / "sys/fs/cgroup/user/job", ("memory.max", "memory.current"), most=most, used=used,
          stat=f"inactive_file {20 * MIB}")  # fmt: skip
    assert told(root) == expected


def test_the_narrowest_group_around_counts(tmp_path):
    root = machine(tmp_path, group="0::/user/job\n")
    names = ("memory.max", "memory.current")
    for inner, most in (("user/job", "max"), ("user", 200 * MIB)):
        limit(
            root / "sys/fs/cgroup" / inner, names, most=most, used=150 * MIB, stat="inactive_file 0"
        )
    assert told(root) == (200, 50, 50)


def test_a_group_of_the_first_kind_limits_it(tmp_path):
    root = machine(tmp_path, group="5:cpu,cpuacct:/x\n4:memory:/job\n0::/\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    limit(root / "sys/fs/cgroup/memory/job", names, most=300 * MIB, used=100 * MIB,
          stat=f"inactive_file 1\ntotal_inactive_file {30 * MIB}")  # fmt: skip
    assert told(root) == (300, 230, 50)


def test_this_machine_tells():
    memory = device_memory(torch.device("cpu"))
    assert 0 < memory.own < memory.total
    assert 0 < memory.free < memory.total
    assert peak_memory(torch.device("cpu")) >= memory.own // 2
    assert "taken by this process" in str(memory)
