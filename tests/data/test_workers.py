import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hftune.data.workers import available_cores, enough_workers, lost_workers, produce
from hftune.errors import AbilityError, DataError
from hftune.stop_signals import StopRequested, listening


def double(ask: int) -> int:
    return 2 * ask


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_things_come_in_the_order_of_the_asks(workers: int) -> None:
    def slow_first(ask: int) -> int:
        time.sleep(0.05 if ask == 0 else 0)
        return 2 * ask

    assert list(produce(slow_first, range(7), workers=workers)) == [0, 2, 4, 6, 8, 10, 12]


def test_work_is_done_by_other_processes_with_one_thread_each() -> None:
    def where(_: int) -> tuple[int, int]:
        return os.getpid(), torch.get_num_threads()

    found = list(produce(where, range(8), workers=2))
    assert os.getpid() not in {pid for pid, _ in found}
    assert len({pid for pid, _ in found}) == 2
    assert {threads for _, threads in found} == {1}


def test_closing_ends_the_workers_promptly() -> None:
    made = produce(double, range(10_000), workers=2)
    next(made)
    assert len(multiprocessing.active_children()) == 2
    start = time.monotonic()
    made.close()
    assert time.monotonic() - start < 4
    assert multiprocessing.active_children() == []


def test_a_worker_is_silent_about_a_trainer_that_left_and_about_nothing_else(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def print_it(ask: int) -> int:  # as the thread does that hands tensors over
        try:
            raise (ConnectionResetError("the trainer left"), OSError("something else"))[ask]
        except OSError:
            sys.excepthook(*sys.exc_info())
        return ask

    assert list(produce(print_it, range(2), workers=1)) == [0, 1]
    said = capfd.readouterr().err
    assert "OSError: something else" in said
    assert "ConnectionResetError: the trainer left" not in said


def test_a_stop_while_workers_start_is_raised_once_they_have() -> None:
    class Asks:
        def __iter__(self) -> Iterator[int]:  # called before torch's own iterator is whole
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
            started.append(True)
            return iter(range(3))

    started: list[bool] = []
    with listening(), pytest.raises(StopRequested):
        next(produce(double, Asks(), workers=1))
    assert started
    gc.collect()
    assert multiprocessing.active_children() == []


def test_an_exhausted_producer_leaves_no_workers() -> None:
    assert len(list(produce(double, range(5), workers=2))) == 5
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_signals_for_the_run_do_not_reach_its_workers(number: int) -> None:
    # Sent by somebody else, as a scheduler does to every process of a job.
    def work(ask: int) -> int:
        time.sleep(0.02)
        return ask

    made = produce(work, range(30), workers=2)
    taken = [next(made)]
    for child in multiprocessing.active_children():
        subprocess.run(["kill", f"-{int(number)}", str(child.pid)], check=True)
    taken.extend(made)
    assert taken == list(range(30))


def test_an_error_of_ours_comes_as_it_is() -> None:
    def fail(ask: int) -> int:
        if ask == 3:
            raise DataError("bad", where="row 3")
        return ask

    made = produce(fail, range(5), workers=2)
    assert [next(made) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError) as caught:
        next(made)
    assert (caught.value.problem, caught.value.where) == ("bad", "row 3")
    assert multiprocessing.active_children() == []


def test_a_lost_worker_is_one_error_with_a_remedy() -> None:
    def die(ask: int) -> int:
        if ask == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return ask

    with pytest.raises(AbilityError) as caught:
        list(produce(die, range(5), workers=1))
    assert "data.workers" in str(caught.value.remedy)


def test_full_shared_memory_is_one_error_instead_of_a_wait_without_end() -> None:
    # A limit on the size of files holds for shared memory as well.
    script = textwrap.dedent("""
        import resource, torch
        from hftune.data.workers import produce
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        sizes = [1_000, 4_000_000]
        for tensors in produce(lambda size: [torch.zeros(size)], sizes, workers=1):
            print(len(tensors[0]), flush=True)
    """)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "1000\n"
    assert "AbilityError: there is no room left in shared memory" in done.stderr
    assert "--shm-size" in done.stderr


def test_an_unclosed_producer_does_not_keep_the_program_from_ending(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        from hftune.data.workers import produce
        made = produce(str, range(1000), workers=2)
        next(made)
        keep = [made]
        raise SystemExit(7)
        """
    )
    result = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert result.returncode == 7


@pytest.mark.slow  # torch looks for the parent every five seconds
def test_a_worker_that_is_lost_while_nobody_waits_for_it_is_the_same_error() -> None:
    made = produce(double, range(10_000), workers=1)
    next(made)
    with pytest.raises(AbilityError, match="ended before its work"), lost_workers():  # noqa: PT012
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
        while True:
            time.sleep(0.01)


def test_workers_end_when_their_user_is_killed() -> None:
    program = textwrap.dedent(
        """
        import multiprocessing, os, signal, time
        from hftune.data.workers import produce
        made = produce(str, range(1000), workers=1)
        next(made)
        print(multiprocessing.active_children()[0].pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    worker = int(result.stdout)
    deadline = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()


def test_workers_are_as_many_as_the_work_keeps_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    most = min(16, available_cores() - 1)
    assert enough_workers(0.49) == 0
    assert enough_workers(0.5) == min(1, most)
    assert enough_workers(1e6) == most


def test_each_training_process_of_the_machine_keeps_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = available_cores()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(cores))
    assert enough_workers(1e6) == 0
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert enough_workers(1e6) == min(16, max(0, cores // 2 - 1))


def test_on_spare_cores_a_core_is_kept_for_each_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    threads, cores = torch.get_num_threads(), available_cores()
    try:
        torch.set_num_threads(1)
        assert enough_workers(1e6, on_spare_cores=True) == min(16, cores - 1)
        torch.set_num_threads(cores)
        assert enough_workers(1e6, on_spare_cores=True) == 0
        assert enough_workers(1e6) == min(16, cores - 1)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("quota", "expected"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None)]
)
def test_cores_respect_a_containers_quota(tmp_path: Path, quota: str, expected: int | None) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    cores = available_cores(tmp_path / "cpu.max")
    assert cores == (expected or len(os.sched_getaffinity(0)))
