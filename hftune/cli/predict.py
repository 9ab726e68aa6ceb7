"""`hftune predict RUN_OR_REPO FILES...`."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from hftune.bulk import Labelled, Wanted, find_pictures, label_all, pictures_of_dataset
from hftune.errors import RequestError, readable
from hftune.predict import Prediction, answer_values, load_predictor, rounded, short


def command(
    thing: Annotated[str, typer.Argument(help="A run folder, an artifact folder or a repository.")],
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Images, folders, patterns ('a/*.jpg'), tables of paths."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="A data set of the Hub, in place of files.")
    ] = None,
    split: Annotated[str, typer.Option(help="Its split.")] = "test",
    config: Annotated[str | None, typer.Option(help="Its configuration.")] = None,
    column: Annotated[str, typer.Option(help="Column of images or paths.")] = "image",
    to: Annotated[
        Path | None,
        typer.Option(help="Write .csv, .jsonl or .parquet; the same command goes on after a stop."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Score that a label needs; default: none, or 0.5 with several labels per image.",
        ),
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="With --to: an image that cannot be read gets a row with its error."
        ),
    ] = False,
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
    forms = {"--json": as_json, "--csv": as_csv, "--to": to is not None}
    asked = [name for name, given in forms.items() if given]
    if len(asked) > 1:
        raise RequestError("two forms of output are asked for", found=" and ".join(asked))
    if (dataset is None) == (not files):
        found = "neither" if dataset is None else "both"
        raise RequestError("name files or a --dataset", found=found)
    if to is None:
        refuse_without_file(
            {"--dataset": dataset, "--threshold": threshold is not None, "--skip-bad": skip_bad}
        )
    pictures = (
        find_pictures(files or [], column=column)
        if dataset is None
        else pictures_of_dataset(dataset, split=split, config=config, column=column)
    )
    predictor = load_predictor(thing, device=device)
    if to is not None:
        wanted = Wanted(top=top, threshold=threshold)
        print_labelled(
            label_all(predictor, pictures, to, wanted, batch_size=batch_size, skips_bad=skip_bad)
        )
        return
    paths = [Path(pictures.name(row)) for row in range(len(pictures))]
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


def refuse_without_file(options: Mapping[str, object]) -> None:
    """Raise RequestError for options that only a file of answers has."""
    given = [name for name, value in options.items() if value]
    if given:
        raise RequestError(
            f"{' and '.join(given)} needs a file to write to",
            remedy="name one: --to answers.csv (or .jsonl, .parquet)",
        )


def print_labelled(labelled: Labelled) -> None:
    """Print what was written, and where."""
    before = f", {labelled.before} of them by an earlier command" if labelled.before else ""
    bad = f"; {labelled.bad} could not be read" if labelled.bad else ""
    print(f"{labelled.path}: {labelled.images} images{before}{bad}")


def print_lines(predictions: Iterable[Prediction], top: int) -> None:
    """Print one JSON object per image."""
    for prediction in predictions:
        answer = rounded(answer_values(prediction, top=top))
        values = {"path": str(prediction.path), **answer}
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
