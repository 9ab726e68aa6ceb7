"""Recipe files in an empty working directory, and error texts kept as files."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ERRORS = Path(__file__).parent.parent / "errors" / "recipe"

SMALL = """\
run: small
model: {repo: timm/test_resnet.r160_in1k}
data:
  source: {name: image_folder, path: ./images}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], Path]:
    """Give a writer of {path: text} into the working directory; it gives that directory."""
    monkeypatch.chdir(tmp_path)

    def write_files(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return write_files


def expected_error(name: str) -> str:
    """Give the text that an error must have."""
    return (ERRORS / f"{name}.txt").read_text(encoding="utf-8")
