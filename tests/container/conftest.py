"""The image, built once, and a table of what was measured on the way."""

import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.container.engine import NAME, Engine, bootstrapped_base, find_engine

ROOT = Path(__file__).resolve().parents[2]
TAG = f"localhost/{NAME}"
EXTRAS = "demo,serve"

# Not for the image, and not to be found in it.
DECOY = "decoy-4f1c"
DECOYS = (".git/config", ".env", "hf_token", "data/a.jpg", "runs/a/recipe.yaml", "tests/test_a.py")

# What lets this machine reach a mirror or a proxy; for the time of the build, and in no layer.
OF_THIS_MACHINE = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True, kw_only=True)
class Image:
    """The built image, the engine that has it, and the folder that it was built from."""

    engine: Engine
    tag: str
    context: Path

    def build(self) -> float:
        """Build it from its folder as it is now, and give the seconds that it took."""
        base, chosen = base_image(self.engine), os.environ.get("HFTUNE_BUILD_OPTIONS", "")
        arguments = {"EXTRAS": EXTRAS} | ({"BASE_IMAGE": base} if base else {})
        mounts = [f"--volume={path}:{path}:ro" for path in OF_THIS_MACHINE if Path(path).is_file()]
        if self.engine.program == "docker":
            mounts = []  # its builder takes none
        words = [*mounts, *shlex.split(chosen)]
        return self.engine.build(self.context, tag=self.tag, arguments=arguments, options=words)


@dataclass
class Figures:
    """What was measured, line by line."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def add(self, what: str, value: str) -> None:
        """Keep a line of the table."""
        self.lines.append((what, value))


_FIGURES = Figures()


def base_image(engine: Engine) -> str:
    """Give the base that was asked for, or one of Debian's packages, or the Dockerfile's own ''."""
    asked = os.environ.get("HFTUNE_BASE_IMAGE")
    if asked is not None:
        return asked
    return bootstrapped_base(engine) if shutil.which("debootstrap") else ""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if _FIGURES.lines:
        terminalreporter.section("the image")
        for what, value in _FIGURES.lines:
            terminalreporter.write_line(f"| {what} | {value} |")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what builds an image of several GB unless it is asked for."""
    if config.getoption("--container"):
        return
    for item in items:
        if item.get_closest_marker("container") is not None:
            item.add_marker(pytest.mark.skip(reason="minutes and 15 GB: make container"))


@pytest.fixture(scope="session")
def figures() -> Figures:
    """Give the table of what is measured."""
    return _FIGURES


@pytest.fixture(scope="session")
def engine() -> Engine:
    """Give the engine of this machine."""
    found = find_engine()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="session")
def image(
    engine: Engine, figures: Figures, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Image]:
    """Build the image out of a folder that also holds what must not get into it.

    HFTUNE_BUILD_OPTIONS=--no-cache builds every layer anew.
    """
    context = tmp_path_factory.mktemp("context")
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "constraints.txt"):
        shutil.copy2(ROOT / name, context)
    for name in ("README.md", "LICENSE"):
        shutil.copy2(ROOT / name, context)
    for name in ("hftune", "recipes"):
        shutil.copytree(ROOT / name, context / name)
    for name in DECOYS:
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).write_text(DECOY)
    made = Image(engine=engine, tag=TAG, context=context)
    seconds = made.build()
    size = engine.inspect(TAG)["Size"]
    figures.add("image", f"{size / 1e9:.2f} GB")
    figures.add("build", f"{seconds:.0f} s")
    for layer in engine.layers(TAG):
        if layer.size > 1e5:
            figures.add(f"layer: {shortened(layer.made_by)}", f"{layer.size / 1e6:.1f} MB")
    yield made
    engine.ask("rmi", "--force", TAG)


def shortened(instruction: str) -> str:
    """Give the part of an instruction that tells one layer from another."""
    words = instruction.rpartition("/bin/sh -c ")[2].removeprefix("#(nop) ").split()
    return " ".join(word for word in words if not word.startswith("--mount"))[:90]
