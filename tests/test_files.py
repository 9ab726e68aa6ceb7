"""Files and folders are whole or absent, whatever stops the writer."""

import errno
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftune import files
from hftune.errors import DiskError
from hftune.files import (
    check_room,
    committed_folder,
    digest_file,
    digest_json,
    disk_errors,
    locked,
    remove_leftovers,
    write_bytes,
    write_json,
    write_text,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def test_write_makes_missing_parents_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "file", b"content")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"content"
    assert names_in(tmp_path / "a" / "b") == ["file"]


def test_write_replaces(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "a long old text")
    write_text(tmp_path / "file", "\u00e9")
    assert (tmp_path / "file").read_bytes() == b"\xc3\xa9"


def test_json_that_other_readers_refuse_is_not_written(tmp_path: Path) -> None:
    write_json(tmp_path / "file", {"loss": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file", {"loss": float("nan")})
    assert json.loads((tmp_path / "file").read_text()) == {"loss": 0.5}
    assert names_in(tmp_path) == ["file"]


WRITE_UNTIL_KILLED = """
import sys
from pathlib import Path
from hftune.files import write_bytes
path = Path(sys.argv[1])
turn = 0
while True:
    write_bytes(path, bytes([turn % 256]) * 300_000)
    turn += 1
    print("wrote", flush=True)
"""

COMMIT_UNTIL_KILLED = """
import sys
from pathlib import Path
from hftune.files import committed_folder
final = Path(sys.argv[1])
turn = 0
while True:
    with committed_folder(final) as folder:
        for name in ("one", "two", "three"):
            (folder / name).write_text(str(turn) * 1000)
    turn += 1
    print("wrote", flush=True)
"""


def kill_after(code: str, target: Path, *, writes: int, delay: float) -> None:
    """Let `code` write to `target`, and SIGKILL it `delay` seconds after its `writes`-th write."""
    line = [sys.executable, "-c", code, str(target)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(writes):
            assert writer.stdout.readline() == "wrote\n"
        time.sleep(delay)  # not for order: it picks a moment inside the next write
        writer.kill()
        writer.wait()
    assert writer.returncode == -signal.SIGKILL


@pytest.mark.parametrize("delay", [0.0, 0.0003, 0.001, 0.002, 0.005])
def test_a_kill_while_writing_leaves_a_whole_file(tmp_path: Path, delay: float) -> None:
    kill_after(WRITE_UNTIL_KILLED, tmp_path / "file", writes=2, delay=delay)
    content = (tmp_path / "file").read_bytes()
    assert len(content) == 300_000
    assert len(set(content)) == 1
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("delay", [0.0, 0.0003, 0.001, 0.002, 0.005])
def test_a_kill_while_replacing_leaves_a_whole_folder(tmp_path: Path, delay: float) -> None:
    kill_after(COMMIT_UNTIL_KILLED, tmp_path / "best", writes=2, delay=delay)
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == ["best"]
    assert names_in(tmp_path / "best") == ["one", "three", "two"]
    assert len({(tmp_path / "best" / name).read_text() for name in ("one", "two", "three")}) == 1


KILLED_AT_RENAME = """
import os, signal, sys
from pathlib import Path
from hftune.files import committed_folder

fatal = int(sys.argv[2])
renames = 0

def watch(event, arguments):
    global renames
    if event == "os.rename":
        renames += 1
        if renames == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

final = Path(sys.argv[1])
sys.addaudithook(watch)
with committed_folder(final) as folder:
    (folder / "weights").write_text("new")
"""


@pytest.mark.parametrize("fatal", [1, 2])
def test_a_kill_before_either_rename_keeps_the_old_folder(tmp_path: Path, fatal: int) -> None:
    final = tmp_path / "best"
    final.mkdir()
    (final / "weights").write_text("old")
    assert run_python(KILLED_AT_RENAME, final, fatal).returncode == -signal.SIGKILL
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == ["best"]
    assert (final / "weights").read_text() == "old"


def test_an_old_folder_left_beside_the_new_one_is_removed(tmp_path: Path) -> None:
    for name, text in ((".best.old", "old"), ("best", "new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(text)
    with committed_folder(tmp_path / "best") as folder:
        (folder / "weights").write_text("newer")
    assert names_in(tmp_path) == ["best"]
    assert (tmp_path / "best" / "weights").read_text() == "newer"


def test_an_exception_leaves_the_old_folder(tmp_path: Path) -> None:
    with committed_folder(tmp_path / "best") as folder:
        (folder / "weights").write_text("old")

    def interrupted() -> None:
        with committed_folder(tmp_path / "best") as folder:
            (folder / "weights").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names_in(tmp_path) == ["best"]
    assert (tmp_path / "best" / "weights").read_text() == "old"


def test_a_folder_is_absent_until_it_is_whole(tmp_path: Path) -> None:
    with committed_folder(tmp_path / "new") as folder:
        (folder / "file").write_text("text")
        assert not (tmp_path / "new").exists()
    assert names_in(tmp_path / "new") == ["file"]


def test_leftovers_of_files_and_folders_go_and_the_rest_stays(tmp_path: Path) -> None:
    (tmp_path / ".file.0123abcd.part").write_text("half")
    (tmp_path / ".folder.0123abcd.part").mkdir()
    (tmp_path / ".folder.0123abcd.part" / "file").write_text("half")
    (tmp_path / "data.part").write_text("a user's own")
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == ["data.part"]


def test_a_full_disk_is_one_error() -> None:
    with pytest.raises(DiskError, match="no space left") as caught, disk_errors(Path("run")):
        Path("/dev/full").write_bytes(b"x")
    assert caught.value.where == "run"
    assert caught.value.exit_code == 3


WRITE_ON_FULL_DISK = """
import sys
from pathlib import Path
from hftune import files
from hftune.errors import DiskError
from hftune.files import committed_folder, write_bytes

disk = Path(sys.argv[1])
write_bytes(disk / "file", b"old")
for action in ("file", "folder"):
    try:
        if action == "file":
            write_bytes(disk / "file", b"x" * 1_000_000)
        with committed_folder(disk / "folder") as folder:
            (folder / "big").write_bytes(b"x" * 1_000_000)
    except DiskError as error:
        print(error.problem)
print(sorted(path.name for path in disk.iterdir()), (disk / "file").read_bytes())
"""


def test_a_full_disk_keeps_the_old_and_removes_the_half(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    script = 'mount -t tmpfs -o size=64k none "$1" && exec "$2" -c "$3" "$1"'
    rights = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
    if unshare is None or _fails([unshare, *rights, "mount", "-t", "tmpfs", "none", tmp_path]):
        pytest.skip("a disk of 64 KiB needs the right to mount one in a namespace of its own")
    line = [unshare, *rights, "sh", "-c", script, "sh", tmp_path, sys.executable]
    done = subprocess.run(
        [*line, WRITE_ON_FULL_DISK], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "no space left on the disk",
        "no space left on the disk",
        "['file'] b'old'",
    ]


def _fails(line: list[object]) -> bool:
    return subprocess.run(line, capture_output=True, timeout=60, check=False).returncode != 0  # type: ignore[arg-type]  # paths too


def test_a_file_past_the_size_limit_keeps_the_old(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from hftune.files import write_bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
write_bytes(Path(sys.argv[1]), b"x" * 100_000)
"""
    write_bytes(tmp_path / "file", b"old")
    done = run_python(code, tmp_path / "file")
    assert "DiskError: a file grew past the largest size that is allowed here" in done.stderr
    assert names_in(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("write", [write_bytes, lambda path, _: committed_folder(path).__enter__()])
def test_a_file_in_the_way_of_a_folder_is_one_error(tmp_path: Path, write: object) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(DiskError, match="cannot be written") as caught:
        write(tmp_path / "runs" / "name", b"")  # type: ignore[operator]  # one of the two above
    assert caught.value.found in ("Not a directory", "File exists")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DiskError, match="cannot be written"):
        write_bytes(tmp_path / "file", b"")


def test_room_is_found_where_the_first_folder_that_exists_lies(tmp_path: Path) -> None:
    check_room(tmp_path / "a" / "b", needed=1, purpose="a file")
    assert names_in(tmp_path) == []


def test_lack_of_room_is_one_error_with_both_sizes(tmp_path: Path) -> None:
    with pytest.raises(DiskError) as caught:
        check_room(tmp_path / "a", needed=2**70, purpose="a file")
    assert caught.value.problem == "there is no room for a file"
    assert str(caught.value.found).endswith(" free")
    assert str(caught.value.allowed).endswith(" or more")
    assert caught.value.where == str(tmp_path / "a")


def test_room_in_a_place_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(DiskError, match="cannot be written"):
        check_room(tmp_path / "runs" / "name", needed=1, purpose="a file")


def test_other_errors_of_the_system_pass_unchanged() -> None:
    with pytest.raises(FileNotFoundError), disk_errors(Path("run")):
        raise FileNotFoundError(errno.ENOENT, "gone")


def test_file_digest_is_sha256(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)  # more than one read
    (tmp_path / "file").write_bytes(content)
    assert digest_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


@settings(deadline=None)  # a shared machine may pause anywhere
@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5))
def test_json_digest_ignores_the_order_of_keys(value: dict[str, object]) -> None:
    assert digest_json(dict(reversed(value.items()))) == digest_json(value)


@settings(deadline=None)
@given(json_values, json_values)
def test_json_digest_tells_values_apart(one: object, other: object) -> None:
    same_text = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest_json(one) == digest_json(other)) == same_text


def add_many(folder: Path, times: int) -> None:
    counter = folder / "counter"
    for _ in range(times):
        with locked(folder / "lock"):
            value = int(counter.read_text())
            time.sleep(0)  # let the other process in, if the lock does
            counter.write_text(str(value + 1))


def test_a_lock_keeps_other_processes_out(tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=add_many, args=(tmp_path, 300)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (tmp_path / "counter").read_text() == "900"


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from hftune.files import locked
with locked(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run_python(code, tmp_path / "lock").returncode == -signal.SIGKILL
    with locked(tmp_path / "lock"):
        assert (tmp_path / "lock").exists()


def test_the_digest_in_parts_is_that_of_its_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_PART", 3 * 2**20)  # by hand below, with parts of 3 MiB
    content = random.Random(0).randbytes(7 * 2**20 + 5)
    path = tmp_path / "large"
    path.write_bytes(content)
    parts = [content[start : start + 3 * 2**20] for start in range(0, len(content), 3 * 2**20)]
    each = b"".join(hashlib.blake2b(part, digest_size=32).digest() for part in parts)
    assert files.digest_parts(path) == hashlib.blake2b(each, digest_size=32).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1])
def test_the_digest_in_parts_changes_with_the_last_bit_and_the_length(tmp_path, size):
    paths = [tmp_path / name for name in ("one", "other", "longer")]
    paths[0].write_bytes(bytes(size))
    paths[1].write_bytes(bytes(max(0, size - 1)) + b"\1")
    paths[2].write_bytes(bytes(size + 2))
    assert len({files.digest_parts(path) for path in paths}) == 3
