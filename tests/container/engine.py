"""A container engine by its command line: Docker's or Podman's, which take the same words."""

import json
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftune.units import parse_size

PROGRAMS = ("docker", "podman")
NAME = "hftune-test"  # what images, containers and volumes of these tests are called by
READY_SECONDS = 600  # an image of 6 GB on a slow disk needs some of that


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer that holds something: its size in bytes, and the instruction that made it."""

    size: int
    made_by: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a container said on both streams, its exit code, and the seconds it took."""

    code: int
    said: str
    seconds: float


class Engine:
    """One engine, and what is asked of it here."""

    def __init__(self, program: str) -> None:
        self.program = program

    def ask(self, *words: str) -> str:
        """Run a command of the engine and give its output; its failure is the test's."""
        done = subprocess.run([self.program, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{self.program} {' '.join(words)}\n{done.stderr[-4000:]}"
        return done.stdout

    def build(
        self, context: Path, *, tag: str, arguments: Mapping[str, str], options: Sequence[str]
    ) -> float:
        """Build an image and give the seconds that it took."""
        chosen = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        started = time.monotonic()
        self.ask("build", *chosen, *options, "--tag", tag, str(context))
        return time.monotonic() - started

    def inspect(self, thing: str) -> dict[str, Any]:
        """Give what the engine knows of an image or a container."""
        return json.loads(self.ask("inspect", thing))[0]

    def layers(self, tag: str) -> list[Layer]:
        """Give the layers that hold something, from the base upwards."""
        form = "{{.Size}}\t{{.CreatedBy}}"
        lines = self.ask("history", "--no-trunc", "--human=false", "--format", form, tag)
        found = [line.split("\t", 1) for line in lines.splitlines()]
        layers = [Layer(size=in_bytes(size), made_by=by) for size, by in reversed(found)]
        return [layer for layer in layers if layer.size]

    def run(self, tag: str, words: Sequence[str], *, options: Sequence[str] = ()) -> Ended:
        """Run a container to its end."""
        line = [self.program, "run", "--rm", *options, tag, *words]
        started = time.monotonic()
        done = subprocess.run(
            line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        seconds = time.monotonic() - started
        return Ended(code=done.returncode, said=done.stdout, seconds=seconds)

    @contextmanager
    def running(
        self, tag: str, words: Sequence[str], *, options: Sequence[str]
    ) -> Iterator["Container"]:
        """Start a container in the background; it is removed at the end."""
        name = f"{NAME}-{uuid.uuid4().hex[:8]}"
        self.ask("run", "--detach", "--name", name, *options, tag, *words)
        try:
            yield Container(engine=self, name=name)
        finally:
            self.ask("rm", "--force", name)

    @contextmanager
    def volumes(self, *names: str) -> Iterator[dict[str, str]]:
        """Make empty volumes, and give what each is called by."""
        made = {name: f"{NAME}-{name}-{uuid.uuid4().hex[:8]}" for name in names}
        for volume in made.values():
            self.ask("volume", "create", volume)
        try:
            yield made
        finally:
            self.ask("volume", "rm", "--force", *made.values())


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container in the background."""

    engine: Engine
    name: str

    def says(self) -> str:
        """Give all that it has said, on both streams."""
        line = [self.engine.program, "logs", self.name]
        return subprocess.run(
            line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
        ).stdout

    def wait_until_it_says(self, text: str) -> None:
        """Wait for a text among what it says; its end before that is a failure."""
        deadline = time.monotonic() + READY_SECONDS
        while text not in (said := self.says()):
            assert self.state()["Running"], said
            assert time.monotonic() < deadline, said
            time.sleep(0.5)

    def execute(self, *words: str) -> str:
        """Run a further command in it and give its output."""
        return self.engine.ask("exec", self.name, *words)

    def stop(self, *, grace: int) -> int:
        """Stop it as its owner would, a kill `grace` seconds later, and give its exit code."""
        self.engine.ask("stop", "--time", str(grace), self.name)
        return int(self.state()["ExitCode"])

    def state(self) -> dict[str, Any]:
        """Give whether it runs, and how it ended."""
        return self.engine.inspect(self.name)["State"]


def in_bytes(size: str) -> int:
    """Read a size as Docker gives it, in bytes, or as Podman does, such as '5.55 GB'."""
    return int(size) if size.isdigit() else parse_size(size)


def find_engine() -> Engine | str:
    """Give the first engine that answers, or the reason why there is none."""
    for program in PROGRAMS:
        if shutil.which(program):
            answer = subprocess.run([program, "version"], capture_output=True, check=False)
            if answer.returncode == 0:
                return Engine(program)
    return f"no container engine answers: {' or '.join(PROGRAMS)}"


def bootstrapped_base(engine: Engine) -> str:
    """Make a base of Debian's own packages, for machines that reach no registry of images."""
    tag = f"localhost/{NAME}-base:bookworm"
    known = engine.ask("images", "--quiet", tag)
    if known.strip():
        return tag
    with tempfile.TemporaryDirectory(prefix="hftune-base-") as name:
        root, packed = Path(name) / "root", Path(name) / "root.tar"
        packages = "--include=python3,python3-venv,ca-certificates"
        line = ["debootstrap", "--variant=minbase", packages, "bookworm", str(root)]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        left_out = ["--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*"]
        subprocess.run(["tar", "-C", root, *left_out, "-cf", packed, "."], check=True)
        engine.ask("import", str(packed), tag)
    return tag
