"""The collector is off for the body alone, and comes back as it was."""

import gc
import subprocess
import sys

import pytest

from hftune.quick_import import quick_import


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_is_off_within_and_then_as_before(was_on):
    before = gc.isenabled()
    try:
        (gc.enable if was_on else gc.disable)()
        with quick_import(), quick_import():
            assert not gc.isenabled()
        assert gc.isenabled() == was_on
        with pytest.raises(ImportError), quick_import():
            raise ImportError
        assert gc.isenabled() == was_on
    finally:
        (gc.enable if before else gc.disable)()


def test_what_is_set_aside_is_not_gone_through_and_collected_at_the_end():
    code = (
        "import atexit, gc\n"
        "atexit.register(lambda: print(gc.get_freeze_count()))  # the last to run\n"
        "from hftune.quick_import import set_aside_imported\n"
        "set_aside_imported(); print(gc.get_freeze_count() > 1000)"
    )
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout == "True\n0\n"
