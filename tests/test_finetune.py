"""A run from its recipe to its results: what of it can be stopped, and goes on."""

from pathlib import Path

import pytest

from hftune.errors import Stopped
from hftune.finetune import train_and_judge
from hftune.train.control import Control
from tests.drawn import drawn_splits, tiny_recipe


def test_a_stop_in_the_last_evaluation_is_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agree, calls = Control.agree_to_stop, []

    def agreed(self: Control) -> bool:
        calls.append(1)
        return agree(self) or len(calls) == 5  # two rounds each: the third evaluation's first

    monkeypatch.setattr(Control, "agree_to_stop", agreed)
    with pytest.raises(Stopped, match="step 9 of 9; a checkpoint is kept"):
        train_and_judge(tiny_recipe(), tmp_path, splits=drawn_splits())
    results = train_and_judge(tiny_recipe(), tmp_path, splits=drawn_splits())
    assert (results.steps, results.epochs) == (9, 3.0)
