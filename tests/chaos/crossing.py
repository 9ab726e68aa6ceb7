"""A run that is stopped on one number of processes and goes on with another.

    python -m tests.chaos.crossing

Trains a network without batch norm three times: on one process throughout; on one, stopped, then
on two; on two, stopped, then on one. Prints one JSON object: for each the images of every step over
all ranks, the losses and the rates.
"""

import json
import os
import signal
import tempfile
from pathlib import Path

from tests.chaos.kills import Stage, finish, forked
from tests.chaos.small_run import draw_images, write_recipe

STOP_AT = 5


def life(stage: Stage, run: Path, rank: int, *, stop_at: int | None) -> int:
    """Be one process of a run; note the images of each step, and stop before `stop_at`."""
    from hftune.train import loop
    from tests.chaos.whole_life import whole_life

    take = loop.train_step

    def noted(session, micro_batches, *, step, **rest):
        rows = [int(row) for batch in micro_batches for row in batch.rows]
        with (run / f"rows-{rank}.jsonl").open("a") as stream:
            stream.write(json.dumps({"step": step, "rows": rows}) + "\n")
        stats = take(session, micro_batches, step=step, **rest)
        if step + 1 == stop_at and rank == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return stats

    loop.train_step = noted
    return whole_life(stage.recipe, run)


def part(folder: Path, run: Path, processes: int, *, stop_at: int | None = None) -> None:
    """Run on `processes` processes, to the end or to a stop."""
    stage = Stage(folder=folder, recipe=folder / "chaos.yaml", processes=processes)
    lives = forked(stage, lambda rank: life(stage, run, rank, stop_at=stop_at))
    codes = finish(lives)
    wanted = 0 if stop_at is None else 75
    if codes != [wanted] * processes:
        raise SystemExit(f"{codes}\n" + (folder / "said-0.txt").read_text())


def seen(run: Path) -> dict[str, object]:
    """Give the sorted rows of each step over all ranks, with the losses and rates."""
    rows: dict[int, list[int]] = {}
    for path in sorted(run.glob("rows-*.jsonl")):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            rows.setdefault(entry["step"], []).extend(entry["rows"])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    return {
        "rows": [sorted(rows[step]) for step in sorted(rows)],
        "losses": [line["loss"] for line in steps],
        "rates": [line["lr"] for line in steps],
        "evaluations": [line["loss"] for line in lines if line["kind"] == "eval"],
    }


def main() -> None:
    """Run all three and print what they saw."""
    with tempfile.TemporaryDirectory(prefix="hftune-chaos-") as name:
        folder = Path(name)
        os.environ["HFTUNE_CACHE"] = str(folder / "cache")
        draw_images(folder / "images")
        write_recipe(folder, workers=0, architecture="test_vit")
        found = {}
        for first, second in ((1, None), (1, 2), (2, 1)):
            run = folder / f"run-{first}-{second}"
            if second is not None:
                part(folder, run, first, stop_at=STOP_AT)
            part(folder, run, second or first)
            found[f"{first} then {second or first}"] = seen(run)
    print(json.dumps(found))


if __name__ == "__main__":
    # Imported before the first fork, so that a life begins in moments.
    import tests.chaos.whole_life  # noqa: F401

    main()
