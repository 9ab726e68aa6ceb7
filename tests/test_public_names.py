"""What `hftune` promises to Python callers: `__all__`, and the page that documents it."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hftune

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", code]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


def test_the_page_documents_exactly_the_public_names() -> None:
    headings = re.findall(r"^### `hftune\.(\w+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(hftune.__all__)


def test_names_are_few_and_sorted() -> None:
    assert hftune.__all__ == sorted(hftune.__all__)
    assert len(hftune.__all__) <= 15


@pytest.mark.parametrize("name", hftune.__all__)
def test_a_name_gives_what_its_module_defines(name: str) -> None:
    value = getattr(hftune, name)
    assert callable(value)
    assert value.__name__ == name
    assert value.__doc__


def test_a_submodule_never_hides_a_name() -> None:
    """`hftune.train` is a folder as well; importing from it must not change what the name gives."""
    done = run_python("""
import sys
import hftune.finetune, hftune.predict, hftune.train.evaluate, hftune.train.loop
from hftune import train
for name in hftune.__all__:
    assert getattr(hftune, name).__name__ == name, getattr(hftune, name)
assert train is hftune.train is sys.modules["hftune.train.loop"].train
""")
    assert done.returncode == 0, done.stderr


def test_importing_hftune_imports_none_of_its_modules() -> None:
    code = "import hftune, sys; print([n for n in sys.modules if n.startswith('hftune.')])"
    assert run_python(code).stdout == "[]\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'finetun'"):
        hftune.finetun  # noqa: B018  # the access is the test


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
def test_examples_use_names_that_exist(block: str) -> None:
    compile(block, str(PAGE), "exec")
    for name in re.findall(r"\bhftune\.(\w+)\(", block):
        assert name in hftune.__all__
    for module, names in re.findall(r"^from (hftune[\w.]*) import (.+)$", block, re.MULTILINE):
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name)


def test_type_checkers_find_the_marker() -> None:
    assert (Path(hftune.__file__).parent / "py.typed").is_file()
