"""A file that should be an image: an upright image, or one error that names it."""

import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hftune.data.decode import decode
from hftune.data.folder_source import image_folder
from hftune.data.scan import scan
from tests.finished import write_finished_run
from tests.fuzz.damage import damaged
from tests.fuzz.images import good_images, pretenders
from tests.fuzz.outcome import LIMIT_SECONDS, error_of, type_in

GOOD = good_images()


def check_bytes(content: bytes, name: str) -> bool:
    """Decode; give whether there was an image."""
    found: list[Image.Image] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        error_of(lambda: found.append(decode(content, name=name)))
    assert all(image.mode in ("L", "RGB") for image in found)
    return bool(found)


def check_seeds(name: str, seeds: range) -> int:
    """Damage one good image by many seeds; give how many could still be read."""
    return sum(check_bytes(damaged(GOOD[name], seed), name) for seed in seeds)


@pytest.mark.parametrize("name", GOOD)
def test_every_format_is_read_whole_and_survives_damage(name: str) -> None:
    assert check_bytes(GOOD[name], name)
    check_seeds(name, range(12))


@pytest.mark.parametrize("name", pretenders())
def test_what_only_pretends_to_be_an_image_is_refused(name: str) -> None:
    assert not check_bytes(pretenders()[name], name)


def lay_out(folder: Path, seeds: range) -> int:
    """Write damaged images as a data set of two classes; give how many files there are."""
    files = {f"{seed}-{name}": damaged(GOOD[name], seed) for name in GOOD for seed in seeds}
    for place in ("cat", "dog"):
        (folder / place).mkdir(parents=True)
        for name, content in {**files, **pretenders()}.items():
            if not name.endswith(".eps"):
                (folder / place / name).write_bytes(content)
        Image.new("RGB", (9, 9)).save(folder / place / "fine.png")
    return sum(1 for path in folder.rglob("*.*") if path.is_file())


def test_a_scan_names_every_file_that_cannot_be_read(tmp_path: Path) -> None:
    number = lay_out(tmp_path / "set", range(1))
    part = image_folder(path=str(tmp_path / "set")).parts["train"]
    assert len(part) == number
    found = scan(part, workers=0).unreadable
    named = {part.key(position) for position in found}
    assert "cat/fine.png" not in named
    assert {f"{place}/bomb.png" for place in ("cat", "dog")} <= named
    for position in range(len(part)):
        content = Path(part.path(position) or "").read_bytes()
        assert check_bytes(content, "x") == (position not in found)


def test_commands_over_damaged_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lay_out(tmp_path / "set", range(1))
    run = write_finished_run(tmp_path / "run")
    code, printed, _ = type_in("inspect", "set")
    assert code == 0
    assert "bomb.png" in printed
    for path in sorted((tmp_path / "set" / "cat").iterdir())[::4]:
        code, printed, said = type_in("predict", str(run), str(path), "--json")
        assert (code == 0) == check_bytes(path.read_bytes(), path.name)
        assert code == 0 or path.name in said


@pytest.mark.chaos
def test_960_damaged_images_in_processes_that_may_not_hang() -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        asked = [
            pool.submit(check_seeds, name, range(first, first + 10))
            for name in GOOD
            for first in range(1_000, 1_060, 10)
        ]
        read = [one.result(timeout=10 * LIMIT_SECONDS) for one in asked]
    assert 0 < np.sum(read) < 10 * len(read)
