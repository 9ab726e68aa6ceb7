"""The range test over two processes sees the losses of one."""

import json

import pytest

pytestmark = pytest.mark.slow

# The all-reduce adds the same fp32 numbers in another order; some Adam steps amplify it.
TOLERANCE = 1e-3


@pytest.mark.chaos
def test_two_processes_find_what_one_finds(write_recipe, command, launch_two, tmp_path):
    words = ["find-lr", write_recipe(), "--from", "1e-6", "--to", "1e-2", "--steps", "12", "--json"]
    one, two = command(*words), launch_two(*words)
    assert one.code == 0, one.err
    assert two.code == 0, two.err
    mine, other = json.loads(one.out), json.loads(two.out)
    assert mine["rates"] == other["rates"]
    assert mine["losses"] == pytest.approx(other["losses"], abs=TOLERANCE)
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]
