"""The allocator: who is left alone, and what a process that starts anew looks like."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hftune.cli.main import VERBS
from hftune.train.allocator import (
    COMPUTING,
    find_machine,
    is_own_command,
    wants_settling,
    with_jemalloc,
)

# Stands where the installed command stands, and says what it was started with.
COMMAND = """\
import json, os, sys
from pathlib import Path
from hftune.train.allocator import settle_allocator, settled_allocator
settle_allocator(sys.argv[1:])
print(json.dumps({
    "pid": os.getpid(), "words": sys.argv[1:], "flags": sys.flags.dont_write_bytecode,
    "settled": settled_allocator(), "environment": dict(os.environ),
    "mapped": "jemalloc" in Path("/proc/self/maps").read_text(), "torch": "torch" in sys.modules,
}))
sys.exit(7)
"""

needs_jemalloc = pytest.mark.skipif(
    find_machine().jemalloc is None or find_machine().has_gpu,
    reason="jemalloc is not installed here, or a GPU computes",
)


def run_command(
    folder: Path, *words: str, name: str = "hftune", **changes: str
) -> dict[str, object]:
    """Run the stand-in and give what it says; without the settings of whoever runs the tests."""
    script = folder / name
    script.write_text(COMMAND)
    plain = {
        name: value
        for name, value in os.environ.items()
        if wants_settling(["train"], {name: value})
    }
    process = subprocess.Popen(
        [sys.executable, "-B", script, *words], stdout=subprocess.PIPE, env=plain | changes
    )
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    told: dict[str, object] = json.loads(said)
    assert told["pid"] == process.pid
    assert told["words"] == list(words)
    assert told["flags"] == 1
    assert told["torch"] is False
    return told


@pytest.mark.parametrize("verb", sorted(COMPUTING))
def test_verbs_that_compute_are_settled(verb):
    assert wants_settling(["--debug", verb, "pets.yaml"], {})
    assert not wants_settling([verb, "--help"], {})


def test_verbs_are_those_of_the_command_line():
    assert set(VERBS) >= COMPUTING
    for verb in set(VERBS) - COMPUTING:
        assert not wants_settling([verb], {})
    assert not wants_settling([], {})


@pytest.mark.parametrize(
    "choice",
    [
        {"HFTUNE_ALLOCATOR": "off"},
        {"LD_PRELOAD": "/usr/lib/libtcmalloc_minimal.so.4"},
        {"LD_PRELOAD": "/opt/own.so:/usr/lib/libjemalloc.so.2"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=1"},
        {"MALLOC_CONF": "background_thread:true"},
        {"MALLOC_TRIM_THRESHOLD_": "100000"},
        {"MALLOC_ARENA_MAX": "1"},
        {"TCMALLOC_RELEASE_RATE": "0"},
    ],
)
def test_a_choice_is_respected(choice):
    assert not wants_settling(["train"], choice)


def test_other_settings_are_no_choice():
    others = {"LD_PRELOAD": "/opt/own.so", "GLIBC_TUNABLES": "glibc.rtld.nns=2", "PATH": "/bin"}
    assert wants_settling(["train"], others)


def test_what_was_preloaded_stays_so():
    library = Path("/usr/lib/libjemalloc.so.2")
    alone = with_jemalloc({"PATH": "/bin"}, library)
    assert (alone["PATH"], alone["LD_PRELOAD"]) == ("/bin", "/usr/lib/libjemalloc.so.2")
    both = with_jemalloc({"LD_PRELOAD": "/opt/own.so"}, library)
    assert both["LD_PRELOAD"] == "/opt/own.so:/usr/lib/libjemalloc.so.2"


@pytest.mark.parametrize(
    ("program", "is_own"),
    [
        ("/usr/bin/hftune", True),
        ("/x/hftune/__main__.py", True),
        ("/x/sweep/__main__.py", False),
        ("-c", False),
        ("run.py", False),
    ],
)
def test_only_the_own_command_starts_anew(program, is_own):
    assert is_own_command([program, "train"]) is is_own


@needs_jemalloc
def test_the_command_starts_anew_as_the_same_process(tmp_path):
    told = run_command(tmp_path, "train", "pets.yaml", "run=a b")
    assert told["mapped"] is True
    assert str(told["settled"]).startswith("jemalloc")


@needs_jemalloc
def test_what_it_starts_inherits_nothing(tmp_path):
    left = run_command(tmp_path, "train")["environment"]
    assert isinstance(left, dict)
    assert not {"LD_PRELOAD", "MALLOC_CONF", "HFTUNE_PRELOAD_BEFORE"} & set(left)


def test_a_choice_reaches_the_process(tmp_path):
    told = run_command(tmp_path, "train", HFTUNE_ALLOCATOR="off")
    assert (told["mapped"], told["settled"]) == (False, None)
    told = run_command(tmp_path, "train", MALLOC_CONF="thp:never")
    assert (told["mapped"], told["settled"]) == (False, None)


def test_somebody_elses_program_is_not_started_anew(tmp_path):
    told = run_command(tmp_path, "train", name="sweep.py")
    assert told["mapped"] is False


def test_a_library_that_cannot_be_loaded_is_done_without(tmp_path):
    told = run_command(tmp_path, "train", HFTUNE_PRELOAD_BEFORE="")
    assert told["mapped"] is False


STEPS = """\
import hashlib, torch
from hftune.train.allocator import keep_memory

def train():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3), torch.nn.BatchNorm2d(32))
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(3):
        images = torch.randn(16, 3, 96, 96).to(memory_format=torch.channels_last)
        model(images).relu().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    values = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
    return hashlib.sha256(values).hexdigest()

print(train())
if keep_memory():
    print(train())
"""


@pytest.mark.slow
@needs_jemalloc
def test_training_is_bit_equal_with_every_allocator():
    library = find_machine().jemalloc
    assert library is not None
    said: list[str] = []
    for environment in (dict(os.environ), with_jemalloc(os.environ, library)):
        words = [sys.executable, "-c", STEPS]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        said += done.stdout.split()
    assert len(said) >= 3
    assert len(set(said)) == 1


@pytest.mark.slow
@needs_jemalloc
def test_the_command_says_it_once_and_imports_only_what_a_step_needs(tmp_path):
    words = [sys.executable, "-X", "importtime", "-m", "hftune", "train", "none.yaml"]
    plain = {
        name: value
        for name, value in os.environ.items()
        if wants_settling(["train"], {name: value})
    }
    done = subprocess.run(words, cwd=tmp_path, env=plain, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("allocator: jemalloc") == 1
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert {"torch", "timm", "hftune.finetune"} <= imported
    assert not {"torchmetrics", "matplotlib", "scipy", "transformers", "datasets"} & imported


GIVING_BACK = """\
import sys
from pathlib import Path
import torch
from hftune.train.allocator import give_memory_back, settle_allocator

def pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

settle_allocator(sys.argv[1:])
before = pages()
blocks = [torch.ones(2**20) for _ in range(50)]  # 200 MiB
del blocks
kept = pages() - before
give_memory_back()
print(kept, pages() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hftune", "sweep.py"])
def test_what_was_kept_is_given_back_where_it_was_kept(tmp_path, name):
    script = tmp_path / name
    script.write_text(GIVING_BACK)
    plain = {
        key: value for key, value in os.environ.items() if wants_settling(["train"], {key: value})
    }
    line = [sys.executable, str(script), "train"]
    done = subprocess.run(line, env=plain, capture_output=True, text=True, check=True)
    kept, left = map(int, done.stdout.split())
    assert left < 10_000  # pages
    assert (kept > 40_000) == (not find_machine().has_gpu)
