"""An allocator that keeps its memory, for hftune's own commands; settled before torch is loaded.

glibc gives each large tensor back to the kernel and has it faulted in again, page by page, in the
next step. jemalloc, where the system has it, can only be taken at a process's start: the command
then starts anew in the same process. Elsewhere glibc is told to keep what it was given.
docs/memory-and-threads.md says what this gains. Whoever imports hftune is left alone.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SWITCH = "HFTUNE_ALLOCATOR"
# Verbs that compute with torch; all others start at once.
COMPUTING = frozenset(
    (
        *("train", "find-lr", "eval", "predict", "export", "push", "compare", "reproduce", "serve"),
        *("soup", "tune", "demo"),
    )
)
# What LD_PRELOAD was before, for the process that was started anew.
_BEFORE = "HFTUNE_PRELOAD_BEFORE"
# Pages are kept for ever rather than given back after ten seconds, and are large ones.
_JEMALLOC_SETTINGS = "dirty_decay_ms:-1,muzzy_decay_ms:-1,thp:always"
_JEMALLOC = "libjemalloc.so.2"
# Variables by which somebody has chosen or tuned an allocator.
_CHOICES = ("MALLOC_CONF", "MALLOC_ARENA_MAX", "TCMALLOC_", "MIMALLOC_", "MALLOC_MMAP_", "MALLOC_T")
# A name of mallctl(3): all arenas give back their unused pages.
_PURGE_ALL = b"arena.4096.purge"
_GPUS = ("/dev/nvidiactl", "/dev/kfd")
# Names of mallopt(3): give nothing back at the end of the heap, and take all from the heap.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the choice depends on: glibc, a GPU, and where jemalloc lies, or None."""

    has_glibc: bool
    has_gpu: bool
    jemalloc: Path | None


_settled: str | None = None


def settle_allocator(arguments: Sequence[str]) -> None:
    """Settle the allocator of this process for a command line, given without its first word.

    Called first of all by hftune's own command, while there is one thread. Side effect: may start
    the command anew, with the same arguments and process id, and then does not return; changes
    the allocator's settings and the environment.
    """
    global _settled
    before = os.environ.get(_BEFORE)
    if before is not None:
        _restore_environment(before)
        if _is_mapped(_JEMALLOC):
            _settled = "jemalloc, which keeps what it was given"
            return
    if not wants_settling(arguments, os.environ):
        return
    machine = find_machine()
    if machine.has_gpu or not machine.has_glibc:  # where a GPU computes, the host has little to do
        return
    if machine.jemalloc is not None and before is None and is_own_command(sys.argv):
        _start_anew(with_jemalloc(os.environ, machine.jemalloc))
    if keep_memory():
        _settled = "glibc's, told to keep what it was given; jemalloc is faster where installed"


def give_memory_back() -> None:
    """Give what is free to the system, where `settle_allocator` had it kept.

    Called where the training is over and other processes begin to work.
    """
    if _settled is None:
        return
    library = ctypes.CDLL(None)
    if _is_mapped(_JEMALLOC):
        library.mallctl(_PURGE_ALL, None, None, None, ctypes.c_size_t(0))
    else:
        library.malloc_trim(ctypes.c_size_t(0))


def settled_allocator() -> str | None:
    """Give in words what `settle_allocator` chose, or None where it left everything alone."""
    return _settled


def wants_settling(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Say whether a command computes and nobody has chosen an allocator, or switched this off."""
    verb = next((word for word in arguments if not word.startswith("-")), "")
    if verb not in COMPUTING or "--help" in arguments or environment.get(SWITCH) == "off":
        return False
    return not (
        "malloc" in environment.get("LD_PRELOAD", "")
        or "glibc.malloc" in environment.get("GLIBC_TUNABLES", "")
        or any(name.startswith(_CHOICES) for name in environment)
    )


def is_own_command(arguments: Sequence[str]) -> bool:
    """Say whether `hftune` or `python -m hftune` was started.

    A program of somebody else's that runs our command line may have done what must not be done
    twice.
    """
    program = Path(arguments[0])
    return program.name == "hftune" or program.parts[-2:] == ("hftune", "__main__.py")


def with_jemalloc(environment: Mapping[str, str], library: Path) -> dict[str, str]:
    """Give the environment in which the command starts anew; it is put back there at once."""
    before = environment.get("LD_PRELOAD", "")
    return {
        **environment,
        "LD_PRELOAD": f"{before}:{library}" if before else str(library),
        "MALLOC_CONF": _JEMALLOC_SETTINGS,
        _BEFORE: before,
    }


def find_machine() -> Machine:
    """Look at this machine, without loading anything."""
    # Built for pages of one size, jemalloc ends a process on a machine with larger ones.
    is_usual = sys.platform == "linux" and os.sysconf("SC_PAGE_SIZE") == 4096
    places = [
        *(Path(root, f"lib/{platform.machine()}-linux-gnu") for root in ("/usr", "/")),
        *(Path(root) for root in ("/usr/lib64", "/usr/local/lib", f"{sys.prefix}/lib")),
    ]
    found = [place / _JEMALLOC for place in places if (place / _JEMALLOC).is_file()]
    hides_gpus = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return Machine(
        has_glibc=_has_glibc(),
        has_gpu=not hides_gpus and any(Path(place).exists() for place in _GPUS),
        jemalloc=found[0] if found and is_usual else None,
    )


def _has_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):  # musl; macOS
        return False


def _start_anew(environment: Mapping[str, str]) -> None:
    """Run this very command in this very process again, or return where the system refuses."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    except OSError:
        return


def _restore_environment(before: str) -> None:
    """Take our settings out again: what this process starts is not to inherit them."""
    for name in (_BEFORE, "MALLOC_CONF", "LD_PRELOAD"):
        os.environ.pop(name, None)
    if before:
        os.environ["LD_PRELOAD"] = before


def _is_mapped(library: str) -> bool:
    """Say whether this process runs with `library`; the loader only warns where it cannot."""
    try:
        return library in Path("/proc/self/maps").read_text()
    except OSError:
        return False


def keep_memory() -> bool:
    """Tell glibc to keep what it was given; say whether it does."""
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_MMAP_MAX, 0) and library.mallopt(_TRIM_THRESHOLD, -1))
