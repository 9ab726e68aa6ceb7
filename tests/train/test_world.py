"""One process among others, as far as one process can test it."""

import pytest

from hftune.train.world import processes_wanted


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("python -m accelerate.commands.launch --cpu --num_processes 2 -m", 2),
        ("accelerate launch --num-processes=4 -m", 4),
        ("accelerate launch --num_processes -m", 1),
        ("bash", 1),
        ("", 1),
    ],
)
def test_the_launchers_wish_is_read_from_its_line(line, wanted):
    assert processes_wanted(line.split()) == wanted
