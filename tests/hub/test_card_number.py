"""The card of a model that gives a number speaks of no classes."""

from hftune.core import BaseFacts, DataFacts, EvalResult, InputSpec, LabelSpace, Spread
from hftune.hub.card import CardFacts, LicenseFacts, read_metadata, write_card

SPREAD = Spread(minimum=18.0, mean=41.53, maximum=90.0, sd=12.25)


def card(*, channels: int = 3, spread: Spread | None = SPREAD) -> str:
    facts = CardFacts(
        run="ages",
        repo_id="me/ages",
        problem="regression",
        labels=LabelSpace(names=("age",), numeric=True, spread=spread),
        input_spec=InputSpec(
            channels=channels, height=64, width=64, mean=(0.5,) * channels, std=(0.5,) * channels,
            interpolation="bicubic", crop_fraction=1.0,
        ),
        base=BaseFacts(architecture="resnet18", hub_id="timm/resnet18.a1_in1k"),
        data=DataFacts(repo_id="org/faces"),
        license=LicenseFacts(id="mit"),
        counts={"train": 90, "test": 10},
        results=(
            EvalResult(
                split="test", step=7, loss=36.0, per_class={}, num_examples=10,
                values={"mae": 4.5, "rmse": 6.0, "r2": 0.75, "pearson": 0.875, "spearman": 0.9},
            ),
        ),
        training={},
        versions={},
        picture="hftune/agreement.png",
        tags=("image-classification", "image-regression"),
    )  # fmt: skip
    return write_card(facts, None)


def test_metadata_says_regression_where_a_reader_may_and_what_serves_it():
    metadata = read_metadata(card())
    assert metadata["pipeline_tag"] == "image-classification"
    assert metadata["tags"] == [
        "image-classification", "timm", "transformers", "hftune", "image-regression"
    ]  # fmt: skip
    assert metadata["metrics"] == ["mae", "rmse", "r_squared", "pearsonr", "spearmanr"]
    (result,) = metadata["model-index"][0]["results"]
    assert result["task"] == {"type": "image-regression", "name": "Image Regression"}
    assert result["metrics"][2] == {"type": "r_squared", "value": 0.75, "name": "R2"}


def test_the_text_names_the_number_its_range_and_its_errors():
    text = card()
    assert "regression model (`resnet18`, fine-tuned from `timm/resnet18.a1_in1k`)" in text
    assert "gives each image one number, `age`" in text
    assert "| 0 | age | 18 | 41.53 | 90 | 12.25 |" in text
    assert "| MAE | 4.5000 |" in text
    assert "Training saw 18 to 90" in text
    for word in ("one of", "## Classes", "softmax", "sigmoid", "Confusion", "Each class"):
        assert word not in text


def test_examples_read_the_output_as_it_is():
    text = card()
    assert "number = model(transform(image)[None])[0].item()" in text
    assert 'model="me/ages", function_to_apply="none")' in text
    assert "transformers' pipeline feeds three" in card(channels=1)


def test_without_known_targets_the_card_says_less():
    text = card(spread=None)
    assert "| Position | Number |\n| --- | --- |\n| 0 | age |" in text
    assert "Training saw" not in text
