"""A run folder, finished or not, and a checkpoint in it: how far it is and what came out."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hftune.describe.description import Cell, Description, Table, listed
from hftune.describe.head import head_start_facts, old_class_tables
from hftune.errors import RunFolderError
from hftune.files import read_json
from hftune.train.receipt_record import RECEIPT_FILE, Receipt, read_receipt
from hftune.train.run_facts import (
    BEST_WEIGHTS,
    DATA_FILE,
    RESULTS_FILE,
    DataRecord,
    ModelRecord,
    ResultsRecord,
    read_data_record,
    read_model_record,
    read_results_record,
)
from hftune.units import format_duration, format_size


def describe_run(run: Path) -> Description:
    """Describe a run folder. Raises RunFolderError for a damaged one."""
    model = read_model_record(run)
    done = (run / RESULTS_FILE).is_file()
    results = read_results_record(run) if done else None
    facts: dict[str, Cell] = {"state": _state(run, results), **_model_facts(model)}
    tables: list[Table] = []
    if (run / DATA_FILE).is_file():
        data = read_data_record(run)
        tables += _targets(data)
        facts["data"] = data.facts.repo_id or data.facts.path or "local images"
        facts["images"] = ", ".join(f"{name} {s.count}" for name, s in data.splits.items())
    if results is not None:
        facts |= _result_facts(results)
    if (run / RECEIPT_FILE).is_file():
        facts["frozen"] = _frozen(read_receipt(run / RECEIPT_FILE))
    facts["best weights"] = BEST_WEIGHTS if (run / BEST_WEIGHTS).is_file() else "none yet"
    facts["artifact"] = "artifact" if (run / "artifact").is_dir() else "none yet"
    facts["pushed"] = _pushed(run)
    if results is not None:
        tables.append(_metrics(results))
        tables += old_class_tables(results.old_classes)
    return Description(kind="run", name=str(run), facts=facts, tables=tuple(tables))


def describe_checkpoint(folder: Path) -> Description:
    """Describe a checkpoint or the best weights of a run, from its files' names and its state.

    Raises RunFolderError for a damaged state.
    """
    state = _read_state(folder / "state.json")
    progress = state.get("progress", state)
    facts: dict[str, Cell] = {
        name.replace("_", " "): value
        for name, value in progress.items()
        if isinstance(value, str | int | float)
    }
    files = tuple(
        (path.name, format_size(path.stat().st_size)) for path in sorted(folder.iterdir())
    )
    return Description(
        kind="checkpoint",
        name=str(folder),
        facts=facts,
        tables=(Table(title="files", columns=("file", "size"), rows=files),),
    )


def _state(run: Path, results: ResultsRecord | None) -> str:
    """Say in words how far a run is."""
    if results is not None:
        early = ", ended early" if results.ended_early else ""
        return f"finished after {results.steps} steps{early}"
    checkpoints = sorted((run / "checkpoints").glob("step-" + "[0-9]" * 8))
    if not checkpoints:
        return "begun, no checkpoint yet"
    step = int(checkpoints[-1].name.removeprefix("step-"))
    return f"not finished; newest checkpoint at step {step}"


def _model_facts(model: ModelRecord) -> dict[str, Cell]:
    start = model.base.hub_id or model.base.repo_id or "a local backbone"
    return {
        "architecture": model.architecture,
        "start": start if model.base.pretrained else "random weights",
        "problem": model.problem,
        **_answer(model),
        **head_start_facts(model.head, num_classes=len(model.label_names)),
    }


def _answer(model: ModelRecord) -> dict[str, Cell]:
    """Give what the model answers with: the number by its name, or the classes."""
    if model.labels.numeric:
        return {"number": model.label_names[0]}
    return {"classes": f"{len(model.label_names)}: {listed(model.label_names)}"}


def _targets(data: DataRecord) -> Iterator[Table]:
    """Give what the numbers of each split are like; nothing where the targets are classes."""
    spreads = {name: split.spread for name, split in data.splits.items() if split.spread}
    if spreads:
        yield Table(
            title="targets",
            columns=("split", "min", "mean", "max", "sd"),
            rows=tuple(
                (name, spread.minimum, spread.mean, spread.maximum, spread.sd)
                for name, spread in spreads.items()
            ),
        )


def _frozen(receipt: Receipt) -> str:
    """Say what the receipt found."""
    if receipt.changed:
        return f"{len(receipt.changed)} frozen tensors CHANGED: {listed(receipt.changed, most=4)}"
    return (
        f"{len(receipt.frozen)} tensors with {receipt.share:.1%} of the parameters, "
        "bit for bit as training found them"
    )


def _result_facts(results: ResultsRecord) -> dict[str, Cell]:
    return {
        "chosen step": f"{results.best_step}, by {results.best_metric} on validation",
        "time": f"{format_duration(results.seconds)}, {results.images_per_second:.1f} images/s",
        "parameters": results.num_parameters,
    }


def _metrics(results: ResultsRecord) -> Table:
    names = list(dict.fromkeys(name for result in results.evaluations for name in result.values))
    rows = tuple(
        (result.split, result.num_examples, result.loss, *(result.values.get(n) for n in names))
        for result in results.evaluations
    )
    return Table(title="results", columns=("split", "images", "loss", *names), rows=rows)


def _pushed(run: Path) -> str:
    path = run / "pushed.json"
    if not path.is_file():
        return "no"
    pushed = _read_state(path)
    return f"{pushed.get('repo_id')} at commit {pushed.get('commit')}"


def _read_state(path: Path) -> Mapping[str, Any]:
    try:
        state = read_json(path)
    except ValueError as error:
        raise RunFolderError("this file is not JSON", found=str(error), where=str(path)) from error
    if not isinstance(state, dict):
        raise RunFolderError("this file holds no JSON object", where=str(path))
    return state
