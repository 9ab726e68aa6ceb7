"""docs/numbers.md says what the code says."""

from pathlib import Path

import pytest

from hftune.recipe.schema import TrainRecipe
from hftune.train.evaluate import MOST_ON_CPU, MOST_ON_GPU
from hftune.train.overflow import skips_text
from tests.drawn import tiny_model
from tests.train.test_finite import explained, opened

PAGE = Path(__file__).parents[2].joinpath("docs/numbers.md").read_text(encoding="utf-8")


def test_the_line_about_skipped_steps_is_the_programs():
    assert skips_text(2) in PAGE


def test_the_message_about_a_bad_step_has_the_programs_words():
    model = tiny_model("test_vit")
    model.module.head.weight.data.fill_(3e38)
    error = explained(opened(model))
    assert error.found is not None
    assert error.remedy is not None
    shared = [
        "the loss or its gradient is not finite in step ",
        "gave values that are not finite, forward",
        "its inputs: finite, up to ",
        "largest value before: ",
        "(4 of 4 in this micro-batch)",
        *error.remedy.splitlines(),
    ]
    for words in shared:
        assert words in str(error), words
        assert words in PAGE, words


@pytest.mark.parametrize("setting", ["precision", "batch_size", "micro_batch_size"])
def test_settings_named_exist(setting):
    assert f"train.{setting}" in PAGE
    assert hasattr(TrainRecipe(), setting)


def test_the_size_of_an_evaluation_is_the_programs():
    assert f"on a CPU at most {MOST_ON_CPU}" in PAGE
    assert f"with `auto` at most {MOST_ON_GPU}" in PAGE
