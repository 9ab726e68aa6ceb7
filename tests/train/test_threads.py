"""Threads: what somebody chose stays, what a launcher chose unasked does not."""

import subprocess
import sys

import pytest
import torch

from hftune.train.threads import chosen_by_launcher, settle_threads, share_of_cores

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "OMP_NUM_THREADS": "1"}
LINE = ["python", "torchrun", "--nproc-per-node", "2", "-m"]
SHELL = {"PATH": "/bin"}


def test_one_thread_of_a_launcher_is_no_choice():
    assert chosen_by_launcher(TORCHRUN, SHELL, LINE)
    assert chosen_by_launcher(
        {"ACCELERATE_MIXED_PRECISION": "no", "OMP_NUM_THREADS": "1"}, SHELL, LINE
    )


@pytest.mark.parametrize(
    ("environment", "parents", "line"),
    [
        ({"OMP_NUM_THREADS": "1"}, SHELL, LINE),  # no launcher
        ({"TORCHELASTIC_RUN_ID": "none"}, SHELL, LINE),  # nobody chose
        (TORCHRUN, {"OMP_NUM_THREADS": "1"}, LINE),  # the launcher was told
        (TORCHRUN, SHELL, ["accelerate", "launch", "--num_cpu_threads_per_process", "1"]),
        (TORCHRUN, SHELL, ["accelerate", "launch", "--num-cpu-threads-per-process=1"]),
        (TORCHRUN, {}, LINE),  # unknown
    ],
)
def test_what_somebody_said_is_a_choice(environment, parents, line):
    assert not chosen_by_launcher(environment, parents, line)


def test_cores_are_divided_and_each_process_has_one():
    alone = share_of_cores(1)
    assert alone >= 1
    assert share_of_cores(2) == max(1, alone // 2)
    assert share_of_cores(10 * alone) == 1


def test_a_number_in_the_environment_stays(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    before = torch.get_num_threads()
    settle_threads(4, [])
    assert torch.get_num_threads() == before


def test_a_program_that_took_fewer_keeps_them():
    code = (
        "import os, torch; os.environ.pop('OMP_NUM_THREADS', None); torch.set_num_threads(1)\n"
        "from hftune.train.threads import settle_threads\n"
        "settle_threads(1, []); assert torch.get_num_threads() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
