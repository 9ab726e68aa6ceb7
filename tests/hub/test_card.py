import ast
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hftune.core import BaseFacts, DataFacts, EvalResult, InputSpec, LabelSpace
from hftune.errors import PublishError
from hftune.hub.card import (
    BEGIN,
    END,
    CardFacts,
    LicenseFacts,
    WidgetSample,
    keep_user_text,
    read_license,
    read_metadata,
    write_card,
)
from hftune.hub.card_text import wilson_interval

SPEC = InputSpec(
    channels=3,
    height=224,
    width=224,
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
    interpolation="bicubic",
    crop_fraction=0.9,
)
VAL = EvalResult(
    split="val",
    step=30,
    loss=0.41,
    values={"accuracy": 0.9, "macro_f1": 0.88},
    per_class={},
    num_examples=100,
)
TEST = EvalResult(
    split="test",
    step=30,
    loss=0.52,
    values={"accuracy": 0.8, "macro_f1": 0.77},
    per_class={"no": {"count": 60.0, "f1": 0.81}, "a|b": {"count": 40.0, "f1": 0.73}},
    num_examples=100,
)
FACTS = CardFacts(
    run="cells",
    repo_id="org/Cells",
    problem="single_label",
    labels=LabelSpace(names=("no", "a|b"), counts=(300, 200)),
    input_spec=SPEC,
    base=BaseFacts(
        architecture="resnet18",
        repo_id="mirror/resnet18",
        hub_id="timm/resnet18.a1_in1k",
        commit="a" * 40,
        license="apache-2.0",
    ),
    data=DataFacts(
        repo_id="Org/Cells-Data",
        commit="b" * 40,
        config="default",
        license="cc-by-4.0",
        split_rule="75/25, stratified",
    ),
    license=LicenseFacts(id="other", name="house", link="LICENSE"),
    counts={"train": 500, "val": 100, "test": 100},
    results=(VAL, TEST),
    training={"Optimizer": "adamw, rate 1e-3", "Precision": "bf16"},
    versions={"hftune": "0.1.0", "torch": "2.11.0"},
    intervals={("test", "macro_f1"): (0.7, 0.84)},
    samples=(WidgetSample(path="samples/1.jpg", title="A cell", scores={"no": 0.9, "a|b": 0.1}),),
    picture="confusion.png",
    limits=("Only daylight.",),
)


def test_metadata_is_what_the_hub_reads() -> None:
    data = ModelCard(write_card(FACTS, None)).data
    assert data.library_name == "timm"
    assert data.pipeline_tag == "image-classification"
    assert data.tags == ["image-classification", "timm", "transformers", "hftune"]
    assert (data.license, data.license_name, data.license_link) == ("other", "house", "LICENSE")
    assert data.base_model == "timm/resnet18.a1_in1k"
    assert data["base_model_relation"] == "finetune"
    assert data.datasets == ["Org/Cells-Data"]
    assert data.metrics == ["accuracy", "f1"]
    assert data["widget"] == [
        {
            "src": "samples/1.jpg",
            "example_title": "A cell",
            "output": [{"label": "no", "score": 0.9}, {"label": "a|b", "score": 0.1}],
        }
    ]


def test_model_index_has_one_result_per_split() -> None:
    [index] = read_metadata(write_card(FACTS, None))["model-index"]
    assert index["name"] == "Cells"
    assert [result["dataset"]["split"] for result in index["results"]] == ["validation", "test"]
    assert index["results"][1] == {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {
            "name": "Cells-Data",
            "type": "Org/Cells-Data",
            "config": "default",
            "split": "test",
            "revision": "b" * 40,
        },
        "metrics": [
            {"type": "accuracy", "value": 0.8, "name": "Accuracy"},
            {"type": "f1", "value": 0.77, "name": "Macro F1"},
        ],
    }


def test_local_data_and_no_base_leave_their_keys_out() -> None:
    facts = replace(
        FACTS,
        base=BaseFacts(architecture="resnet18", pretrained=False),
        data=DataFacts(path="/home/ada/cells"),
        license=LicenseFacts(id=None),
    )
    text = write_card(facts, None)
    metadata = read_metadata(text)
    assert not {"datasets", "base_model", "base_model_relation", "license"} & set(metadata)
    assert metadata["model-index"][0]["results"][0]["dataset"]["name"] == "cells"
    assert "/home/ada" not in text
    assert "Licence: not stated" in text
    assert "trained from scratch" in text


def test_sections_come_in_order() -> None:
    text = write_card(FACTS, None)
    assert re.findall(r"^#+ (.+)$", text.split(BEGIN)[1], re.MULTILINE) == [
        "cells",
        "Classes",
        "Results",
        "Each class, test split",
        "How to use",
        "Training",
        "Data",
        "Limits",
        "Licence and lineage",
        "Versions",
    ]


def test_calibration_curves_and_the_way_back_are_told_where_they_are_known() -> None:
    plain = write_card(FACTS, None)
    assert "Calibration" not in plain
    assert "Learning curves" not in plain
    told = replace(FACTS, calibration="On test images 0.03.", curves="hftune/curves.png")
    card = write_card(told, None)
    assert "## Calibration\n\nOn test images 0.03." in card
    assert "![Learning curves](hftune/curves.png)" in card
    assert "`hftune reproduce org/Cells`" in card
    assert "hftune reproduce" not in write_card(replace(FACTS, repo_id=None), None)


def test_rows_tell_count_and_interval() -> None:
    text = write_card(FACTS, None)
    assert "| Metric | Validation, 100 images | Test, 100 images |" in text
    assert "| Accuracy | 0.9000 (0.8256 to 0.9448) | 0.8000 (0.7112 to 0.8666) |" in text
    assert "| Macro F1 | 0.8800 | 0.7700 (0.7000 to 0.8400) |" in text
    assert "2,000 bootstrap resamples of the images or by Wilson's formula for a share" in text
    assert "| no | 60 | 0.8100 |" in text


def test_images_that_could_not_be_judged_are_told() -> None:
    assert "could not be read" not in write_card(FACTS, None)
    text = write_card(replace(FACTS, results=(VAL, replace(TEST, num_bad=3))), None)
    assert "\n\ntest: 3 more could not be read and count nowhere.\n\n" in text


@pytest.mark.parametrize(("share", "count"), [(0.8, 100), (0.5, 7), (0.01, 2000)])
def test_wilson_bounds_are_where_the_score_test_turns(share: float, count: int) -> None:
    for bound in wilson_interval(share, count):
        score = abs(share - bound) / math.sqrt(bound * (1 - bound) / count)
        assert score == pytest.approx(1.959964, abs=1e-5)


def test_wilson_at_the_ends() -> None:
    # z^2 / (n + z^2) with n = 10
    assert wilson_interval(0.0, 10) == pytest.approx((0.0, 0.27753), abs=1e-5)
    assert wilson_interval(1.0, 10) == pytest.approx((0.72247, 1.0), abs=1e-5)


def test_a_name_cannot_break_its_table() -> None:
    facts = replace(FACTS, labels=LabelSpace(names=("a|b", "<b>\nx"), counts=(1, 2)))
    text = write_card(facts, None)
    assert "| 0 | a\\|b | 1 |" in text
    assert "| 1 | &lt;b> x | 2 |" in text


def test_long_tables_are_folded() -> None:
    names = tuple(f"class {i}" for i in range(100))
    text = write_card(replace(FACTS, labels=LabelSpace(names=names)), None)
    assert "<summary>all classes (100)</summary>" in text


@pytest.mark.parametrize(
    ("change", "present", "absent"),
    [
        ({}, ('"hf-hub:org/Cells"', "softmax(-1)", 'model="org/Cells"'), ("sigmoid",)),
        ({"repo_id": None}, ("local-dir:THIS_FOLDER", 'model="THIS_FOLDER"'), ("hf-hub:",)),
        (
            {"revision": "trial"},
            (
                '"hf-hub:org/Cells@trial"',
                'model="org/Cells", revision="trial")',
                "hftune predict org/Cells@trial",
                "hftune reproduce org/Cells@trial",
            ),
            ('model="org/Cells")',),
        ),
        ({"labels": LabelSpace(names=("x", "y"), multi=True)}, ("sigmoid()",), ("softmax",)),
        (
            {"input_spec": replace(SPEC, channels=1)},
            ('convert("L")', "takes 1 channels"),
            ("from transformers",),
        ),
    ],
)
def test_examples_fit_the_model(
    change: dict[str, object], present: tuple[str, ...], absent: tuple[str, ...]
) -> None:
    text = write_card(replace(FACTS, **change), None)  # type: ignore[arg-type]
    for words in present:
        assert words in text
    for words in absent:
        assert words not in text
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        ast.parse(code)


def test_writing_twice_changes_nothing() -> None:
    card = write_card(FACTS, None)
    assert write_card(FACTS, card) == card


def test_words_and_keys_of_the_user_stay() -> None:
    card = write_card(FACTS, None)
    edited = (
        card.replace("library_name: timm", "library_name: timm\nlanguage: en")
        .replace("- hftune\n", "- hftune\n- solar\n")
        .replace(BEGIN, f"Before.\n\n{BEGIN}")
        + "\nAfter.\n"
    )
    again = write_card(replace(FACTS, limits=("Only at night.",)), edited)
    metadata = read_metadata(again)
    assert metadata["language"] == "en"
    assert metadata["tags"][-1] == "solar"
    head, rest = again.split(BEGIN)
    block, tail = rest.split(END)
    assert head.rstrip().endswith("Before.")
    assert tail.strip() == "After."
    assert "Only at night." in block
    assert "Only daylight." not in again


def test_our_keys_are_renewed() -> None:
    old = write_card(replace(FACTS, results=(replace(TEST, values={"accuracy": 0.1}),)), None)
    [index] = read_metadata(write_card(FACTS, old))["model-index"]
    assert index["results"][1]["metrics"][0]["value"] == 0.8


def test_foreign_card_follows_our_block() -> None:
    text = write_card(FACTS, "---\nlanguage: de\n---\n# Mein Modell\n\nText.\n")
    assert read_metadata(text)["language"] == "de"
    assert text.endswith(f"{END}\n\n# Mein Modell\n\nText.\n")
    bare = write_card(FACTS, "# Only words\n")
    assert bare.endswith(f"{END}\n\n# Only words\n")
    assert write_card(FACTS, "") == write_card(FACTS, None)


def test_card_without_our_block_is_left_alone() -> None:
    assert keep_user_text("# By hand\n", "# Older\n") == "# By hand\n"


def test_language_no_stays_what_it_is() -> None:
    """YAML 1.1 takes Norwegian for false."""
    card = write_card(FACTS, "---\nlanguage: no\n---\n")
    assert ModelCard(card).data.language == "no"


@pytest.mark.parametrize("block", ["license: [mit", "- a\n- b", "1: x"])
def test_metadata_that_cannot_be_read(block: str) -> None:
    with pytest.raises(PublishError, match="metadata"):
        write_card(FACTS, f"---\n{block}\n---\ntext\n")


def test_license_from_the_card(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (tmp_path / "config.json").write_text('{"pretrained_cfg": {"license": "mit"}}')
    assert read_license(tmp_path) == "apache-2.0"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pretrained_cfg": {"license": "mit"}}, "mit"),
        ({"license": "bsd"}, "bsd"),
        ({"pretrained_cfg": {}}, None),
        ([1], None),
    ],
)
def test_license_from_the_config(config: object, expected: str | None, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# no metadata\n")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_license(tmp_path) == expected


def test_no_license_is_not_invented(tmp_path: Path) -> None:
    assert read_license(tmp_path) is None
    (tmp_path / "config.json").write_text("{")
    assert read_license(tmp_path) is None
