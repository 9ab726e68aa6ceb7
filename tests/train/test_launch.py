"""The launcher in front of Accelerate's: what it chooses, passes on, and ends with."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from hftune.errors import LostProcessError, RequestError
from hftune.train.launch import launch, read_launch

WORKER = """\
import os, signal, sys, time
rank = os.environ.get("RANK", "0")
CODE
"""


@pytest.fixture(autouse=True)
def _own_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of `accelerate config` on this machine, and an environment to spoil."""
    module = import_module("hftune.train.launch")
    monkeypatch.setattr(module, "default_config_file", str(tmp_path / "none.yaml"))
    for name in ("TORCH_CPP_LOG_LEVEL", "TORCHELASTIC_SIGNALS_TO_HANDLE"):
        monkeypatch.setenv(name, "SIGQUIT" if "SIGNALS" in name else "ERROR")


def test_several_processes_are_several_without_a_gpu():
    for words in (["--num_processes", "2"], ["--cpu", "--num-processes=2"]):
        options = read_launch([*words, "train", "pets.yaml"])
        assert (options.multi_gpu, options.cpu, options.num_processes) == (True, False, 2)


def test_one_process_is_what_a_machine_without_a_gpu_starts():
    options = read_launch(["train", "pets.yaml"])
    assert (options.multi_gpu, options.num_processes, options.num_machines) == (False, 1, 1)
    assert (options.mixed_precision, options.dynamo_backend) == ("no", "no")


def test_what_follows_the_verb_is_the_verbs():
    words = [
        "train",
        "pets.yaml",
        "optim.lr=1e-3",
        "--output",
        "x",
        "--num_processes",
        "7",
        "--cpu",
    ]
    options = read_launch(["--num_processes", "2", *words])
    assert options.training_script == "hftune"
    assert options.module is True
    assert options.training_script_args == words
    assert options.num_processes == 2


def test_threads_are_shared_out_and_runs_may_share_a_machine(monkeypatch):
    import torch

    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 9)
    options = read_launch(["--num_processes", "2", "train"])
    assert options.num_cpu_threads_per_process == 4
    assert options.main_process_port == 0


def test_what_is_said_stays(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    options = read_launch(
        ["--num_processes", "4", "--num_machines", "2", "--machine_rank", "1", "--main_process_ip",
         "10.0.0.1", "--num_cpu_threads_per_process", "3", "--mixed_precision", "bf16", "train"]
    )  # fmt: skip
    assert (options.num_machines, options.machine_rank) == (2, 1)
    assert options.main_process_port is None  # Accelerate's own for several machines
    assert options.num_cpu_threads_per_process == 3
    assert options.mixed_precision == "bf16"  # the workers say that the recipe wins


def test_a_file_of_accelerate_config_decides_where(tmp_path):
    options = read_launch(["--config_file", str(tmp_path / "c.yaml"), "train"])
    assert options.num_processes is None
    assert options.main_process_port is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--num_processes", "two", "train"], "num_processes"),
        (["--no_such_thing", "train"], "--no_such_thing"),
        (["--num_processes", "2"], "required: VERB"),
    ],
)
def test_options_that_accelerate_does_not_take_are_a_wrong_request(words, said):
    with pytest.raises(RequestError, match=said):
        read_launch(words)


@pytest.fixture
def start(tmp_path: Path) -> Callable[[int, str], int]:
    """Launch processes that run a few lines in place of hftune; give the exit code."""

    def run(number: int, code: str) -> int:
        script = tmp_path / "worker.py"
        script.write_text(WORKER.replace("CODE", code))
        options = read_launch(["--num_processes", str(number), "train"])
        options.module, options.training_script = False, str(script)
        return launch(options)

    return run


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("code", [0, 1, 2, 3, 75])
def test_the_exit_code_is_the_workers_own(number, code, start, capfd):
    assert start(number, f"sys.exit({code})") == code
    assert capfd.readouterr().err == ""  # whatever there is to say, a worker has said


def test_the_first_that_fails_decides(start, capfd):
    # The other is asked to end by Accelerate's launcher, and ends otherwise.
    waiting = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); time.sleep(60)"
    code = f"if rank == '1': time.sleep(1); sys.exit(2)\n{waiting}"
    assert start(2, code) == 2
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", [1, 2])
def test_a_worker_that_is_killed_is_named(number, start, capfd):
    code = f"if rank == '{number - 1}': os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)"
    with pytest.raises(
        LostProcessError, match=f"process {number - 1} .* ended by SIGKILL"
    ) as error:
        start(number, code)
    assert "memory" in str(error.value)
    assert capfd.readouterr().err == ""


LAUNCHER = """\
import sys
from hftune.train.launch import launch, read_launch
options = read_launch(["--num_processes", sys.argv[1], "train"])
options.module, options.training_script = False, sys.argv[2]
options.training_script_args = sys.argv[3:]
sys.exit(launch(options))
"""


def launched(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start the launcher in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "launcher.py", *words], cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


# Tells that it listens, notes what it hears, and ends late: the first process after the second.
LISTENER = """\
import os, signal, sys, time
from pathlib import Path
rank = os.environ.get("RANK", "0")
heard = Path(sys.argv[1]) / rank
def note(number, _):
    with heard.open("a") as stream:
        stream.write(signal.Signals(number).name + " ")
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, note)
heard.touch()
print("listening", flush=True)
while not heard.read_text():
    time.sleep(0.01)
time.sleep(2 if rank == "0" else 1)
sys.exit(75)
"""


@pytest.mark.slow
def test_a_stop_reaches_every_worker_once_and_is_waited_for(tmp_path):
    """Accelerate's launcher sends SIGTERM to who is left: a repetition would mean "at once"."""
    for name, text in (("launcher.py", LAUNCHER), ("listener.py", LISTENER)):
        (tmp_path / name).write_text(text)
    heard = tmp_path / "heard"
    heard.mkdir()
    with launched(tmp_path, "2", "listener.py", str(heard)) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["listening\n"] * 2
        process.send_signal(signal.SIGUSR1)
        _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (75, "")
    assert (heard / "0").read_text() == "SIGINT SIGTERM "
    assert (heard / "1").read_text() == "SIGINT "


@pytest.mark.slow
def test_a_stop_before_there_is_anything_to_keep_ends_the_launcher(tmp_path):
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    (tmp_path / "deaf.py").write_text("import time; print('here', flush=True); time.sleep(60)\n")
    with launched(tmp_path, "1", "deaf.py") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (128 + signal.SIGTERM, "")
