"""The grammar of selectors: every form is read, every near miss is answered with a close one."""

import pytest

from hftune.errors import ModelError
from hftune.recipe.selectors import WORDS, Selector, parse_selector


@pytest.mark.parametrize("word", WORDS)
def test_words_are_read(word: str) -> None:
    assert parse_selector(word) == Selector(text=word, negated=False, kind="word", part=word)
    assert parse_selector(f"not {word}").negated


@pytest.mark.parametrize(
    ("text", "kind", "part"),
    [
        ("stage.0", "stage", 0),
        ("stage.-1", "stage", -1),
        ("layer.12", "layer", 12),
        ("stages[:2]", "stage", slice(None, 2)),
        ("stages[-2:]", "stage", slice(-2, None)),
        ("layers[1:-1]", "layer", slice(1, -1)),
        ("layers[:]", "layer", slice(None, None)),
        ("name:blocks.*.mlp.*", "name", "blocks.*.mlp.*"),
        ("name: fc", "name", "fc"),
    ],
)
def test_forms_are_read(text: str, kind: str, part: object) -> None:
    selector = parse_selector(text)
    assert (selector.kind, selector.part) == (kind, part)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("haed", "did you mean 'head'?"),
        ("not haed", "did you mean 'head'?"),
        ("Head", "did you mean 'head'?"),
        ("norms", "did you mean 'norm'?"),
        ("backbon", "did you mean 'backbone'?"),
        ("sateg.1", "did you mean 'stage.1' or 'name:sateg.1'?"),
        ("stages.1", "did you mean 'stage.1' or 'name:stages.1'?"),
        ("stage[1]", "did you mean 'stage.1'?"),
        ("stage[:2]", "did you mean 'stages[:2]'?"),
        ("stages:2", "did you mean 'stages[:2]'?"),
        ("layer4", "did you mean 'layer.4' or 'name:layer4'?"),
        ("layer4.0.conv1", "did you mean 'name:layer4.0.conv1'?"),
        ("blocks.*.mlp", "did you mean 'name:blocks.*.mlp'?"),
        ("fc", "did you mean 'name:fc'?"),
        ("pos_embed", "did you mean 'embed'?"),
        ("not not head", "did you mean 'head'?"),
        ("", None),
        ("name:", None),
        ("not ", None),
    ],
)
def test_what_is_no_selector_is_answered_with_a_close_one(text: str, advice: str | None) -> None:
    with pytest.raises(ModelError, match="is no selector") as caught:
        parse_selector(text)
    assert caught.value.remedy == advice
    assert "name:PATTERN" in str(caught.value.allowed)


@pytest.mark.parametrize(
    "text", ["stages[5:2]", "layers[2:2]", "stages[:0]", "stages[-1:-3]", "stages[-2:0]"]
)
def test_a_range_without_content_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="ends before it begins"):
        parse_selector(text)
