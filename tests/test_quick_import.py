"""The collector is off for the body alone, and comes back as it was."""

import gc

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
