"""What words after a recipe mean: fixed values, ranges, choices, files of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftune.errors import RecipeError
from hftune.tune.space import Choice, Range, read_words


def only(word):
    (one,) = read_words([word]).space
    return one


@pytest.mark.parametrize(
    ("word", "text", "ends", "is_log"),
    [
        ("optim.lr=log:1e-5..1e-2", "log:1e-05..0.01", ("1e-05", "0.01"), True),
        ("optim.layer_decay=0.6..0.9", "0.6..0.9", ("0.6", "0.9"), False),
        ("freeze.stages=0..3", "0..3", ("0", "3"), False),
        ("train.length=4..12 epochs", "4..12 epochs", ("4 epochs", "12 epochs"), False),
        ("optim.schedule.warmup=0..20%", "0..20%", ("0%", "20%"), False),
        ("optim.rates.head=log: 1.0 .. 30x", "log:1..30x", ("1x", "30x"), True),
        ("x.y=-.5..+2.", "-0.5..2", ("-0.5", "2"), False),
    ],
)
def test_a_range(word, text, ends, is_log):
    one = only(word)
    assert isinstance(one, Range)
    assert (one.setting, str(one)) == (word.partition("=")[0], text)
    assert (one.ends, one.is_log) == (ends, is_log)


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("16|32 | 64", ("16", "32", "64")),
        ("adamw|{name: sgd, momentum: 0.9}", ("adamw", "{name: sgd, momentum: 0.9}")),
        ("[head]|[head, 'a|b']", ("[head]", "[head, 'a|b']")),
        ('null|"x|y"', ("null", '"x|y"')),
    ],
)
def test_a_choice(value, texts):
    one = only(f"a.b={value}")
    assert isinstance(one, Choice)
    assert one.texts == texts


@pytest.mark.parametrize(
    "word",
    [
        *("optim.lr=1e-3", "data.source.path=../images", "model.repo=./a..b", "run=a-1..2"),
        *("freeze.layers=['name:a|b']", 'optim.rates."name:a=b|c"=3x', "model.revision=null"),
    ],
)
def test_anything_else_is_fixed(word):
    asked = read_words([word])
    assert (asked.overrides, asked.space) == ((word,), ())


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("optim.lr=1e-2..1e-5", "the lower end of 1e-2..1e-5 must be below the upper one"),
        ("optim.lr=log:0..1", "log:0..1 has no logarithm at its lower end; begin above 0"),
        ("optim.lr=log:1e-5", "'log:1e-5' is no range; write a range as"),
        ("optim.lr=1e-5..", "'1e-5..' is no range; write a range as"),
        ("train.batch_size=16|16", "a value is listed twice in 16|16"),
        ("train.batch_size=16|", "a value is empty in 16|"),
        ("0..3", "this override cannot be read"),
        ("base=a|b", "an override cannot change what is inherited"),
    ],
)
def test_a_wrong_word_says_what_is_wrong(word, complaint):
    with pytest.raises(RecipeError) as error:
        read_words([word])
    (problem,) = error.value.problems
    assert problem.place == "command line"
    assert complaint in problem.text


def test_all_wrong_words_are_told_together():
    with pytest.raises(RecipeError) as error:
        read_words(["optim.lr=2..1", "x.y=1|1", "optim.lr=3..4", "optim.lr=1e-3"])
    assert [problem.setting for problem in error.value.problems] == ["optim.lr", "x.y", "optim.lr"]
    assert "given twice; command line gives it before" in error.value.problems[2].text


def test_a_file_has_the_same_grammar(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(
        "optim.lr: log:1e-5..1e-2\n"
        "train.batch_size: [16, 32]\n"
        "optim.method: [adamw, {name: sgd, momentum: 0.9}]\n"
        "model.revision: ['1', main]\n"
        "optim.weight_decay: 0.1\n"
    )
    asked = read_words([str(path), "train.seed=1"])
    assert asked.overrides == ("optim.weight_decay=0.1", "train.seed=1")
    assert [str(one) for one in asked.space] == [
        *("log:1e-05..0.01", "16|32", 'adamw|{"name": "sgd", "momentum": 0.9}', '"1"|main'),
    ]
    assert asked.space[0].place.endswith("space.yaml:1")


@given(st.floats(1e-6, 0.9), st.floats(1, 1e6), st.floats(0, 1))
def test_a_number_is_short_and_inside_its_range(low, high, share):
    one = only(f"a.b={low!r}..{high!r}")
    drawn = min(max(low + share * (high - low), low), high)
    number = one.number(drawn)
    assert low <= number <= high
    assert number == pytest.approx(drawn, rel=1e-3)
    assert float(one.text(drawn)) == number
