"""What a system fails to give once is asked for again; what is gone or damaged is not."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hftune.data.decode import decode
from hftune.data.patience import Patience
from hftune.errors import DataError


def failing(*numbers: int) -> tuple[Callable[[], str], list[int]]:
    """Give a reading that fails with these numbers one after the other, and what it met."""
    left, met = list(numbers), []

    def attempt() -> str:
        if left:
            met.append(left.pop(0))
            raise OSError(met[-1], os.strerror(met[-1]))
        return "read"

    return attempt, met


def test_a_hesitating_system_is_asked_again() -> None:
    attempt, met = failing(errno.ESTALE, errno.EIO, errno.ETIMEDOUT)
    assert Patience().read(attempt) == "read"
    assert met == [errno.ESTALE, errno.EIO, errno.ETIMEDOUT]


def test_after_four_attempts_the_last_error_stands() -> None:
    attempt, met = failing(*[errno.EIO] * 9)
    with pytest.raises(OSError, match="Input/output"):
        Patience().read(attempt)
    assert len(met) == 4


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EISDIR])
def test_what_the_system_says_for_good_is_not_asked_again(number: int) -> None:
    attempt, met = failing(number, number)
    with pytest.raises(OSError):
        Patience().read(attempt)
    assert met == [number]


def test_an_error_of_the_content_is_not_asked_again() -> None:
    met = []

    def attempt() -> str:
        met.append(1)
        raise OSError("image file is truncated")

    with pytest.raises(OSError, match="truncated"):
        Patience().read(attempt)
    assert met == [1]


def test_a_server_that_is_gone_is_not_waited_for_until_it_answers() -> None:
    patience = Patience()
    patience.in_vain = 20
    attempt, met = failing(errno.EIO, errno.EIO)
    with pytest.raises(OSError):
        patience.read(attempt)
    assert len(met) == 1
    assert patience.read(lambda: "read") == "read"
    attempt, met = failing(errno.EIO, errno.EIO)
    assert patience.read(attempt) == "read"
    assert len(met) == 2


def test_a_file_that_the_system_cannot_give_is_a_bad_image() -> None:
    # This file of Linux exists, and reading its start fails with EIO.
    with pytest.raises(DataError) as caught:
        decode(Path("/proc/self/mem"), name="cats/3.png")
    assert caught.value.where == "cats/3.png"
    assert caught.value.found == "OSError: [Errno 5] Input/output error"
