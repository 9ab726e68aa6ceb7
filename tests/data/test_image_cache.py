import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hftune.cache_folders import list_entries, made_entry, remove_entry
from hftune.data import image_cache
from hftune.data.image_cache import INDEX, KIND, PIXELS, ImageCache, make_cache, open_cache
from tests.data.conftest import draw

KEY = "k" * 8
NUMBER = 6
GIB = 2**30


def image_at(position: int) -> Image.Image:
    """An image of a size of its own, every second one grey."""
    image = draw(position, size=(5 + position, 7))
    return image.convert("L") if position % 2 else image


def made(key: str = KEY, *, limit: int | None = GIB) -> ImageCache:
    make_cache(key, length=NUMBER, says="drawn")
    cache = open_cache(key, limit=limit)
    assert cache is not None
    return cache


def filled(key: str = KEY) -> ImageCache:
    cache = made(key)
    for position in range(NUMBER):
        cache.put(position, image_at(position))
    return cache


def is_right(image: Image.Image | None, position: int) -> bool:
    wanted = image_at(position)
    return image is not None and image.mode == wanted.mode and equal(image, wanted)


def equal(one: Image.Image, other: Image.Image) -> bool:
    return np.array_equal(np.asarray(one), np.asarray(other))


def kept_bytes() -> int:
    return sum(entry.num_bytes for entry in list_entries(KIND))


def forked(body: Callable[[], None]) -> int:
    """Run `body` in a fork and wait for it; give how it ended."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            body()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_images_come_back_as_they_were() -> None:
    cache = filled()
    assert all(is_right(cache.get(position), position) for position in range(NUMBER))


def test_what_was_never_kept_is_not_there() -> None:
    assert made().get(3) is None
    assert made().get(10**6) is None


def test_other_processes_and_later_runs_read_what_one_kept() -> None:
    cache = made()
    assert forked(lambda: cache.put(2, image_at(2))) == 0
    assert is_right(cache.get(2), 2)
    later = open_cache(KEY, limit=None)
    assert later is not None
    assert is_right(later.get(2), 2)


def test_there_is_nothing_to_open_before_it_is_made() -> None:
    assert open_cache(KEY, limit=GIB) is None


def test_a_cache_that_is_only_read_keeps_nothing_more() -> None:
    filled()
    cache = open_cache(KEY, limit=None)
    assert cache is not None
    before = kept_bytes()
    cache.put(1, image_at(2))
    assert is_right(cache.get(1), 1)
    assert kept_bytes() == before


def test_an_image_is_kept_once_whoever_comes_again() -> None:
    cache = filled()
    before = kept_bytes()
    cache.put(4, image_at(4))
    assert kept_bytes() == before


@pytest.mark.parametrize("name", [INDEX, PIXELS])
def test_no_flipped_bit_changes_an_image(name: str) -> None:
    cache = filled()
    path = cache.folder / name
    content = path.read_bytes()
    lost = 0
    for at in range(0, len(content), 3 if name == INDEX else 29):
        path.write_bytes(content)
        with path.open("r+b") as stream:
            stream.seek(at)
            stream.write(bytes([content[at] ^ (1 << at % 8)]))
        images = [cache.get(position) for position in range(NUMBER)]
        assert all(image is None or is_right(image, n) for n, image in enumerate(images))
        lost += sum(image is None for image in images)
    assert lost == len(range(0, len(content), 3 if name == INDEX else 29))


@pytest.mark.parametrize("name", [INDEX, PIXELS])
def test_what_was_cut_is_kept_anew(name: str) -> None:
    cache = filled()
    os.truncate(cache.folder / name, (cache.folder / name).stat().st_size // 2)
    images = [cache.get(position) for position in range(NUMBER)]
    assert any(image is None for image in images)
    assert all(image is None or is_right(image, n) for n, image in enumerate(images))
    for position in range(NUMBER):
        cache.put(position, image_at(position))
    assert all(is_right(cache.get(position), position) for position in range(NUMBER))


def test_a_slot_holds_for_its_own_image_only() -> None:
    cache = filled()
    path = cache.folder / INDEX
    size = path.stat().st_size // NUMBER
    content = path.read_bytes()
    path.write_bytes(content[size : 2 * size] + content[size:])
    assert cache.get(0) is None
    assert is_right(cache.get(1), 1)


def test_a_kill_at_any_line_leaves_each_image_whole_or_absent() -> None:
    cache = made()
    start = [(cache.folder / name).read_bytes() for name in (INDEX, PIXELS)]
    line, codes = 0, set[int]()
    while 0 not in codes and line < 400:
        line += 3
        for name, content in zip((INDEX, PIXELS), start, strict=True):
            (cache.folder / name).write_bytes(content)
        codes.add(forked(lambda line=line: keep_two_and_die(cache, line)))  # type: ignore[misc]
        images = [cache.get(position) for position in range(NUMBER)]
        assert all(image is None or is_right(image, n) for n, image in enumerate(images))
        for position in range(NUMBER):
            cache.put(position, image_at(position))
        assert all(is_right(cache.get(position), position) for position in range(NUMBER))
    assert codes == {0, -signal.SIGKILL}
    assert line > 50


def keep_two_and_die(cache: ImageCache, number: int) -> None:
    """Keep two images and be killed before line `number` of what keeps them."""
    seen = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal seen
        if frame.f_code.co_filename != image_cache.__file__:
            return None
        seen += event == "line"
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    for position in range(2):
        cache.put(position, image_at(position))
    sys.settrace(None)


def test_processes_that_fill_at_once_keep_every_image() -> None:
    number = 60
    make_cache(KEY, length=number, says="drawn")
    cache = open_cache(KEY, limit=GIB)
    assert cache is not None

    def fill(order: Iterator[int]) -> None:
        for position in order:
            cache.put(position, image_at(position))

    orders = [range(number), range(number - 1, -1, -1), range(number)]
    processes = []
    for order in orders:
        process = os.fork()
        if process == 0:
            fill(iter(order))
            os._exit(0)
        processes.append(process)
    assert [os.waitpid(process, 0)[1] for process in processes] == [0, 0, 0]
    assert all(is_right(cache.get(position), position) for position in range(number))


def test_the_limit_holds_for_all_caches_together(caplog: pytest.LogCaptureFixture) -> None:
    other = filled("other")
    limit = kept_bytes() + 800
    with caplog.at_level(logging.INFO):
        cache = made(limit=limit)
        for position in range(NUMBER):
            cache.put(position, image_at(position))
            assert kept_bytes() <= limit
    assert [cache.get(position) is not None for position in range(NUMBER)].count(True) >= 2
    assert not cache.fills
    assert caplog.text.count("all room that data.decoded_cache gives") == 1
    assert other.get(0) is not None


def test_what_nobody_uses_makes_room() -> None:
    filled("old")
    limit = kept_bytes() + 400
    cache = made(limit=limit)
    for position in range(NUMBER):
        cache.put(position, image_at(position))
    assert [entry.key for entry in list_entries(KIND)] == [KEY]
    assert kept_bytes() <= limit
    assert cache.fills


def test_a_nearly_full_disk_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    cache = ImageCache(made().folder, limit=GIB, floor=2**62)
    for position in range(NUMBER):
        cache.put(position, image_at(position))
    assert cache.get(0) is None
    assert caplog.text.count("is nearly full") == 1


def test_workers_hear_of_each_other_that_filling_is_over(caplog: pytest.LogCaptureFixture) -> None:
    cache = ImageCache(made().folder, limit=GIB, floor=2**62)
    assert forked(lambda: cache.put(0, image_at(0))) == 0
    assert not cache.fills
    cache.put(1, image_at(1))
    assert caplog.text == ""


def test_a_file_that_cannot_be_written_ends_filling(caplog: pytest.LogCaptureFixture) -> None:
    folder = made().folder
    (folder / PIXELS).unlink()
    (folder / PIXELS).symlink_to("/dev/full")  # on which nothing can be written
    cache = ImageCache(folder, limit=GIB)
    for position in range(NUMBER):
        cache.put(position, image_at(position))
        assert cache.get(position) is None
    assert caplog.text.count("cannot be written") == 1


def test_a_removed_cache_ends_filling(caplog: pytest.LogCaptureFixture) -> None:
    cache = filled()
    for path in cache.folder.iterdir():
        path.unlink()
    cache.put(0, image_at(0))
    assert is_right(cache.get(5), 5)  # the open files are still there
    cache.put(NUMBER, image_at(1))
    assert caplog.text.count("was removed") == 1


def test_a_cache_in_use_is_not_removed() -> None:
    cache = filled()
    assert not remove_entry(list_entries(KIND)[0])
    del cache
    assert remove_entry(list_entries(KIND)[0])


def test_what_only_others_may_write_is_read(tmp_path: Path) -> None:
    with made_entry(KIND, KEY, says="drawn") as folder:
        (folder / INDEX).touch()
        (folder / PIXELS).symlink_to(Path(sys.executable).resolve())  # busy: it runs
    cache = open_cache(KEY, limit=GIB)
    assert cache is not None
    assert not cache.fills
    assert cache.get(0) is None
