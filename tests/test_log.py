"""What reaches stderr, from which rank and at which level."""

import logging
from collections.abc import Iterator

import pytest

from hftune.log import QUIET, configure


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Give back handlers and levels: they belong to the whole process."""
    root = logging.getLogger()
    names = ["", "hftune", *QUIET]
    handlers, levels = root.handlers[:], [logging.getLogger(name).level for name in names]
    yield
    root.handlers[:] = handlers
    for name, level in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(level)


def test_rank_0_states_facts_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    logger = logging.getLogger("hftune.data")
    logger.debug("detail")
    logger.info("%d images", 12)
    logger.warning("2 skipped")
    captured = capsys.readouterr()
    assert captured.err == "12 images\nwarning: 2 skipped\n"
    assert captured.out == ""


def test_other_ranks_only_warn_and_say_who_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    configure(rank=3)
    logging.getLogger("hftune").info("12 images")
    logging.getLogger("hftune").warning("slow disk")
    assert capsys.readouterr().err == "[rank 3] warning: slow disk\n"


def test_debug_shows_details_on_every_rank(capsys: pytest.CaptureFixture[str]) -> None:
    configure(rank=1, debug=True)
    logging.getLogger("hftune").debug("detail")
    assert capsys.readouterr().err == "[rank 1] debug: detail\n"


def test_a_traceback_follows_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    try:
        raise KeyError("name")
    except KeyError:
        logging.getLogger("hftune").exception("lookup failed")
    text = capsys.readouterr().err
    assert text.startswith("error: lookup failed\nTraceback")
    assert text.endswith("KeyError: 'name'\n")


def test_other_libraries_only_warn(capsys: pytest.CaptureFixture[str]) -> None:
    configure(debug=True)
    for name in (*QUIET, "some.library"):
        logging.getLogger(name).info("chatter")
    assert capsys.readouterr().err == ""


def test_configuring_twice_prints_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    configure()
    logging.getLogger("hftune").info("once")
    assert capsys.readouterr().err == "once\n"
    assert len(logging.getLogger().handlers) == 1
