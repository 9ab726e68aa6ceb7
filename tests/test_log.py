"""What reaches stderr, from which rank and at which level."""

import logging
import sys
import threading
from collections.abc import Iterator

import pytest

from hftune.log import QUIET, configure, guard_tracebacks, hide, without_secrets


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Give back handlers, levels and hooks: they belong to the whole process."""
    hooks = sys.excepthook, threading.excepthook
    root = logging.getLogger()
    names = ["", "hftune", *QUIET]
    handlers, levels = root.handlers[:], [logging.getLogger(name).level for name in names]
    yield
    sys.excepthook, threading.excepthook = hooks
    logging.setLogRecordFactory(logging.LogRecord)
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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("it was hf_aB3dEfGh1jKlMnOp", "it was hf_***"),
        ("no module hf_transfer, hf_hub_download", "no module hf_transfer, hf_hub_download"),
        ("{'authorization': 'Bearer s3cret/+=.x'}", "{'authorization': 'Bearer ***'}"),
        ("b'basic dXNlcjpwYXNz'", "b'basic ***'"),
        ("id eyJhbGciOiJSUzI1.eyJzdWIiOiJ4.c2lnbmF0dXJl_-x", "id ***"),
        ("https://me:s3cret@host:80/a@b", "https://***@host:80/a@b"),
        ("http://token@host?q", "http://***@host"),
        ("PUT 'https://s3/k?sig=abc&e=1' failed", "PUT 'https://s3/k' failed"),
        ("mail me@host, see org/name@main", "mail me@host, see org/name@main"),
    ],
)
def test_secrets_are_known_by_their_form(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_what_is_to_be_hidden_is_hidden_unless_it_could_be_a_word() -> None:
    hide("odd/of+no=form")
    hide("step")
    assert without_secrets("<odd/of+no=form> at step 3") == "<***> at step 3"


def test_secrets_are_blanked_in_what_libraries_log_by_themselves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure()
    library = logging.getLogger("some.library")
    own = logging.StreamHandler(sys.stderr)
    library.addHandler(own)
    library.warning("PUT %s failed", "http://hub/k?signature=s3cret")
    library.removeHandler(own)
    printed = capsys.readouterr().err
    assert printed.count("PUT http://hub/k failed") == 2
    assert "s3cret" not in printed


def fail() -> None:
    try:
        raise KeyError("http://hub/k?signature=s3cret")
    except KeyError as error:
        raise RuntimeError("sent Bearer s3cret") from error


def test_tracebacks_hold_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    guard_tracebacks()
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    try:
        fail()
    except RuntimeError:
        kind, error, trace = sys.exc_info()
        assert kind is not None
        assert error is not None
        sys.excepthook(kind, error, trace)
    printed = capsys.readouterr().err
    assert printed.count("Traceback (most recent call last)") == 4
    assert printed.count("RuntimeError: sent Bearer ***") == 2
    assert printed.count("KeyError: 'http://hub/k'") == 2
    assert "s3cret" not in printed
