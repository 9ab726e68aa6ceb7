"""Stop signals, each sent for real to a process of its own."""

import signal
import subprocess
import sys
import threading

import pytest

from hftune.stop_signals import STOP_SIGNALS, listening

START = """\
import hashlib, signal, sys, time
from hftune import stop_signals
from hftune.stop_signals import StopRequested, listening, raise_if_stopped
"""


def run(body, *signals, code=0):
    """Run `body` in a process; send each signal when it prints a line. Gives what it printed."""
    process = subprocess.Popen(
        [sys.executable, "-c", START + body],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    lines = []
    for number in signals:
        lines.append(process.stdout.readline().strip())
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return [*lines, *out.split()]


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_it_is_raised_where_nothing_is_lost(number):
    body = """
with listening():
    try:
        print("ready", flush=True)
        time.sleep(60)
    except StopRequested as request:
        print(request.received.name)
"""
    assert run(body, number) == ["ready", number.name]


def test_a_library_that_catches_everything_does_not_keep_it():
    body = """
with listening():
    try:
        while True:
            try:
                print("ready", flush=True)
                time.sleep(60)
            except Exception:
                print("kept")
    except StopRequested:
        print("left")
"""
    assert run(body, signal.SIGTERM) == ["ready", "left"]


def test_a_finalizer_does_not_swallow_it():
    body = """
class Slow:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(60)

with listening():
    try:
        thing = Slow()
        del thing
        time.sleep(60)
    except StopRequested:
        print("left")
"""
    assert run(body, signal.SIGTERM) == ["ready", "left"]


def test_it_is_only_noted_where_work_must_be_saved_first():
    body = """
with listening() as signals:
    with signals.noting():
        print("ready", flush=True)
        while signals.received is None:
            time.sleep(0.01)
        print("saved")
    try:
        raise_if_stopped()
    except StopRequested:
        print("left")
"""
    assert run(body, signal.SIGUSR1) == ["ready", "saved", "left"]


def test_waiting_within_noted_work_is_ended():
    body = """
with listening() as signals, signals.noting():
    try:
        with signals.raising():
            print("ready", flush=True)
            time.sleep(60)
    except StopRequested:
        print("ended")
    try:
        with signals.raising():
            print("never")
    except StopRequested:
        print("at once")
"""
    assert run(body, signal.SIGTERM) == ["ready", "ended", "at", "once"]


NOTED = """
stop_signals.ECHO_SECONDS = {echo}
with listening() as signals, signals.noting():
    print("ready", flush=True)
    while signals.received is None:
        time.sleep(0.01)
    print("noted", flush=True)
    time.sleep({rest})
print("saved")
"""


def test_the_same_signal_again_ends_it_at_once():
    body = NOTED.format(echo=0.0, rest=60)
    said = run(body, signal.SIGTERM, signal.SIGTERM, code=-signal.SIGTERM)
    assert said == ["ready", "noted"]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_one_request_that_arrives_twice_is_one(second):
    body = NOTED.format(echo=60.0, rest=0.3)
    assert run(body, signal.SIGTERM, second) == ["ready", "noted", "saved"]


def test_a_call_that_does_not_return_is_left():
    # This call holds the main thread without looking at signals, as a barrier does. The signal may
    # come just before it; then the request is swallowed, as some libraries would.
    body = """
stop_signals.LEAVE_SECONDS = 0.2
def hold():
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
with listening():
    try:
        print("ready", flush=True)
        hold()
    except StopRequested:
        hold()
"""
    assert run(body, signal.SIGTERM, code=75) == ["ready"]


def test_work_that_is_being_saved_is_not_left():
    body = """
stop_signals.LEAVE_SECONDS = 0.1
with listening() as signals, signals.noting():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 500_000)
    print("saved")
"""
    assert run(body, signal.SIGTERM) == ["ready", "saved"]


def test_signals_and_the_wakeup_descriptor_are_given_back():
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with listening() as signals, listening() as within:
        assert within is signals
        assert signal.getsignal(signal.SIGTERM) == signals._on_signal
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_outside_the_main_thread_whoever_embeds_us_handles_signals():
    before, received = signal.getsignal(signal.SIGTERM), []

    def work():
        with listening() as signals:
            received.append((signals.received, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert received == [(None, before)]
