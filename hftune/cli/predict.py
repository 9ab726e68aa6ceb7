"""`hftune predict RUN_OR_REPO FILES...`."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from hftune.errors import RequestError, readable
from hftune.predict import Prediction, find_images, load_predictor


def command(
    thing: Annotated[str, typer.Argument(help="A run folder, an artifact folder or a repository.")],
    files: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to show per image.")] = 3,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 32,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, mps ...; default: a GPU if there is one.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON per image.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print a row of CSV per class, or per number.")
    ] = False,
) -> None:
    """Label images with a run or a repository, by the transform it was judged with.

    A model of regression gives each image its number.
    """
    if as_json and as_csv:
        raise RequestError("two forms of output are asked for", found="--json and --csv")
    paths = find_images(files)
    predictor = load_predictor(thing, device=device)
    predictions = predictor.stream(paths, batch_size=batch_size)
    if as_csv and predictor.labels.numeric:
        print_numbers_csv(predictions)
    elif as_json:
        print_lines(predictions, top)
    elif as_csv:
        print_csv(predictions, top)
    else:
        width = min(48, max(len(str(path)) for path in paths))
        print_table(predictions, top, width=width)


def print_lines(predictions: Iterable[Prediction], top: int) -> None:
    """Print one JSON object per image."""
    for prediction in predictions:
        values: dict[str, object] = {"path": str(prediction.path)}
        if prediction.problem == "regression":
            values["numbers"] = {prediction.label: short(prediction.score)}
        else:
            values["labels"] = list(prediction.labels)
            scores = {name: round(score, 6) for name, score in best(prediction, top)}
            values["scores"] = scores
        print(json.dumps(values, ensure_ascii=False), flush=True)


def print_csv(predictions: Iterable[Prediction], top: int) -> None:
    """Print one row per image and class: path, rank, label, score."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "rank", "label", "score"])
    for prediction in predictions:
        for rank, (name, score) in enumerate(best(prediction, top), start=1):
            writer.writerow([prediction.path, rank, name, f"{score:.6f}"])


def print_numbers_csv(predictions: Iterable[Prediction]) -> None:
    """Print one row per image: path, name of the number, number."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "name", "number"])
    for prediction in predictions:
        writer.writerow([prediction.path, prediction.label, short(prediction.score)])


def print_table(predictions: Iterable[Prediction], top: int, *, width: int) -> None:
    """Print one line per image: path, then its best classes; given labels have a star.

    Of a number: path, its name, and the number itself.
    """
    for prediction in predictions:
        if prediction.problem == "regression":
            shown = [f"{readable(prediction.label)} {prediction.score:.4g}"]
        else:
            shown = [
                f"{'*' if name in prediction.labels else ' '}{readable(name)} {score:.1%}"
                for name, score in best(prediction, top)
            ]
        print(f"{prediction.path!s:<{width}}  {'  '.join(shown)}", flush=True)


def best(prediction: Prediction, top: int) -> Iterator[tuple[str, float]]:
    """Give the `top` classes with their scores, highest first."""
    return islice(prediction.scores.items(), top)


def short(number: float) -> float:
    """Give a number of any size with the digits that fp32 holds."""
    return float(f"{number:.7g}")
