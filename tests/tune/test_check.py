"""A space is tried on its recipe before anything runs; all that is wrong is said at once."""

import os
from pathlib import Path

import pytest

from hftune.errors import HftuneError, RecipeError, RequestError
from hftune.tune.check import check_space
from hftune.tune.method import Method, check_method
from hftune.tune.search import open_space
from hftune.tune.space import read_words

ERRORS = Path(__file__).parent.parent / "errors" / "tune"


def refused(source, words, name):
    """Compare the refusal with the kept text; TMP stands for the folder of the recipe."""
    with pytest.raises(HftuneError) as error:
        check_method(Method(sampler="grid"), open_space(source, words).space)
    text = str(error.value).replace(str(Path(source).parent), "TMP") + "\n"
    kept = ERRORS / f"{name}.txt"
    if os.environ.get("HFTUNE_KEEP_ERRORS"):  # write the texts anew, to be read in the diff
        kept.write_text(text, encoding="utf-8")
    assert text == kept.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing_to_search", ["optim.lr=1e-3"]),
        ("no_grid", ["optim.lr=log:1e-5..1e-2", "train.batch_size=8|16"]),
        (
            "wrong_space",
            [
                *("optim.lr=0..1", "train.batch_size=4.5..8.5", "optim.methd=adam|sgd"),
                *("optim.schedule=cosine|cosin", "data.augment[0].min_scale=0.5..1.5"),
                *("train.length=2..3 days", "data.split_seed=0..4", "eval.best=auroc|loss"),
                *("hub.push_to=a/b|a/c", "train.seed=0..9"),
            ],
        ),
    ],
)
def test_refusals(name, words, source):
    refused(source, words, name)


def test_a_wrong_recipe_is_told_as_always(source):
    with pytest.raises(RecipeError) as error:
        check_space(source, ["optim.lr=-1"], read_words(["freeze.stages=0..2"]).space)
    assert "small.yaml" in error.value.source


@pytest.mark.parametrize(
    ("word", "is_whole"),
    [
        ("freeze.stages=0..3", True),
        ("train.batch_size=log:4..16", True),
        ("optim.weight_decay=0..1", False),
        ("optim.clip_norm=1..5", False),
        ("train.length=2..9 epochs", True),
        ("train.length=2.5..9 epochs", False),
        ("data.balance=0..1", False),
    ],
)
def test_the_setting_says_whether_fractions_are_meant(word, is_whole, source):
    _, (one,) = check_space(source, [], read_words([word]).space)
    assert one.is_whole is is_whole


def test_settings_that_change_the_judge_are_not_searched(source):
    for word in ("data.val=5%|10%", "problem=single_label|multi_label", "data.source.path=a|b"):
        with pytest.raises((RecipeError, RequestError), match="the space"):
            open_space(source, [word])
