"""A command that is stopped as a scheduler stops it, at a moment that its own words tell."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence


def run_until(line: Sequence[str], environment: Mapping[str, str], *, sign: str) -> str:
    """Run a command until it says `sign`, ask it to stop, and give all that it said."""
    with subprocess.Popen(
        line, env=os.environ | environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = ""
        while sign not in said:
            new = process.stderr.readline()
            assert new, said
            said += new
        process.send_signal(signal.SIGTERM)
        said += process.stderr.read()
    assert process.returncode == 75, said
    return said
