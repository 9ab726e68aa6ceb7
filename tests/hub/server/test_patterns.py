"""The reference is git itself: its check-attr and check-ignore on the same patterns and paths."""

import subprocess
from pathlib import Path

import pytest

from hftune.hub.server.patterns import is_ignored, is_large

PATHS = (
    "a.bin",
    "a.txt",
    "deep/a.bin",
    "deep/er/a.bin",
    "raw/a.txt",
    "raw/x/y/a.txt",
    "deep/raw/a.txt",
    "a/b",
    "a/x/b",
    "a/x/y/b",
    "with space.txt",
    "b1.dat",
    "b2.dat",
    "bx.dat",
    "star*.txt",
)

PATTERNS = (
    "*.bin",
    "/*.bin",
    "deep/*.bin",
    "**/a.bin",
    "raw/**",
    "**/raw/**",
    "a/**/b",
    "b?.dat",
    "b[12].dat",
    "b[!12].dat",
    "b[0-9].dat",
    "[z-a].txt",
    "with[[:space:]]space.txt",
    r"star\*.txt",
    "deep",
    "a.txt",
)


@pytest.fixture(scope="module")
def git(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("git")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    for path in PATHS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


@pytest.mark.parametrize("pattern", PATTERNS)
def test_attributes_mark_the_files_that_git_marks(git: Path, pattern: str) -> None:
    attributes = f"# a comment\n{pattern} filter=lfs -text\nb2.dat -filter\n"
    (git / ".gitattributes").write_text(attributes)
    command = ["git", "check-attr", "-z", "filter", "--", *PATHS]
    fields = subprocess.run(command, cwd=git, capture_output=True, text=True, check=True).stdout
    words = fields.split("\0")
    expected = {words[i] for i in range(0, len(words) - 1, 3) if words[i + 2] == "lfs"}
    (git / ".gitattributes").unlink()
    found = {path for path in PATHS if is_large(path, size=1, sample=b"x", attributes=attributes)}
    assert found == expected


@pytest.mark.parametrize("pattern", [*PATTERNS, "deep/", "/a/", "*.bin\n!deep/a.bin", "x/*\n!x/y"])
def test_ignored_are_the_files_that_git_ignores(git: Path, pattern: str) -> None:
    ignore = f"# a comment\n\n{pattern}\n"
    (git / ".gitignore").write_text(ignore)
    command = ["git", "check-ignore", "-z", "--no-index", "--stdin"]
    asked = "".join(f"{path}\0" for path in PATHS)
    # git ends with 1 when nothing is ignored.
    done = subprocess.run(command, cwd=git, input=asked, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    (git / ".gitignore").unlink()
    assert {path for path in PATHS if is_ignored(path, ignore)} == set(done.stdout.split("\0")) - {
        ""
    }


@pytest.mark.parametrize(
    ("sample", "large"),
    [
        (b"plain text", False),
        ("\u00e4" * 256, False),
        (("\u20ac" * 200).encode()[:512], False),  # cut in the middle of a letter
        (b"a\x00b", True),
        (b"\xff\xd8\xff\xe0 picture", True),
    ],
)
def test_binary_content_is_large(sample: bytes | str, large: bool) -> None:
    content = sample.encode() if isinstance(sample, str) else sample
    assert is_large("file", size=len(content), sample=content, attributes="") is large


def test_empty_files_are_never_large() -> None:
    assert not is_large("a.bin", size=0, sample=b"", attributes="*.bin filter=lfs")
