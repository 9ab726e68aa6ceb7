"""`hftune cache`: what it prints, and the texts of its errors, kept in tests/errors/cli."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hftune.cache_folders import made_entry, used_entry
from hftune.cli.main import invoke

ERRORS = Path(__file__).parent.parent / "errors" / "cli"


@pytest.fixture(autouse=True)
def _own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HFTUNE_CACHE", str(tmp_path))


def make(kind: str, key: str) -> None:
    with made_entry(kind, key, says="12 images of 'train'") as folder:
        (folder / "data").write_bytes(bytes(2000))


def test_ls_prints_a_line_each_and_the_totals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make("images", "0123456789abcdef")
    with used_entry("images", "0123456789abcdef"):
        assert invoke(["cache", "ls"]) == 0
    head, line, total, _ = capsys.readouterr().out.splitlines()
    assert head.split() == ["kind", "size", "used", "last", "key", "what", "it", "is"]
    assert line.startswith("images       2.0 KiB  20")
    assert line.endswith("  in use  0123456789ab  12 images of 'train'")
    assert total == f"1 entry, 2.0 KiB in {tmp_path}"


def test_ls_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make("features", "0123456789abcdef")
    assert invoke(["cache", "ls", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["folder"] == str(tmp_path)
    (entry,) = value["entries"]
    assert (entry["kind"], entry["key"], entry["in_use"]) == ("features", "0123456789abcdef", False)


def test_clear_says_what_went_and_what_stays(capsys: pytest.CaptureFixture[str]) -> None:
    make("images", "aaaaaaaa")
    make("images", "bbbbbbbb")
    with used_entry("images", "aaaaaaaa"):
        assert invoke(["cache", "clear", "--kind", "images"]) == 0
    removed, kept, total, left = capsys.readouterr().out.splitlines()
    assert removed.startswith("removed  images")
    assert "bbbbbbbb" in removed
    assert kept.startswith("kept     images")
    assert "aaaaaaaa" in kept
    assert total == "removed 1 entry, 2.0 KiB"
    assert left == "kept 1 entry, 2.0 KiB, which are in use; clear them when that has ended"


def test_clear_as_json_with_an_age(capsys: pytest.CaptureFixture[str]) -> None:
    make("images", "aaaaaaaa")
    assert invoke(["cache", "clear", "--older", "7d", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": [], "kept": []}
    assert invoke(["cache", "clear", "aaaaaaaa", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [one["key"] for one in value["removed"]] == ["aaaaaaaa"]


CASES = {
    "cache_kind": ["--kind", "pictures"],
    "cache_key": ["cccccccc"],
    "cache_several": ["aaaaaa"],
    "cache_repos": ["--kind", "repos"],
    "cache_age": ["--older", "a week"],
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_cleared_is_said(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    make("images", "aaaaaaaa")
    make("features", "aaaaaabb")
    assert invoke(["cache", "clear", *CASES[name]]) == 2
    said = capsys.readouterr().err
    kept = ERRORS / f"{name}.txt"
    if os.environ.get("HFTUNE_KEEP_ERRORS"):  # write the texts anew, to be read in the diff
        kept.write_text(said, encoding="utf-8")
    assert said == kept.read_text(encoding="utf-8")
    invoke(["cache", "ls", "--json"])
    assert len(json.loads(capsys.readouterr().out)["entries"]) == 2


def test_the_verb_imports_no_torch() -> None:
    code = "import sys, hftune.cli.cache; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
