"""hftune's own command line, with its defaults; what it writes while it runs is read as it comes.

This process imports neither torch nor hftune, so that nothing of it is in the figures.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.peers.parts import parts_of
from benchmarks.peers.task import WARM_UP_STEPS, Task, read_task, say

POLL_SECONDS = 0.02


def main(task: Task) -> None:
    """Train and judge by `hftune train`; evaluation alone by `hftune.evaluate`."""
    task.scratch.mkdir(parents=True, exist_ok=True)
    recipe = task.scratch / "recipe.json"  # JSON is YAML
    recipe.write_text(json.dumps(make_recipe(task), indent=2))
    os.environ.setdefault("HFTUNE_CACHE", str(task.scratch / "cache"))
    if task.mode == "evaluate":
        time_evaluation(recipe)
        return
    run = task.scratch / "run"
    process = subprocess.Popen([*launcher(task), "train", str(recipe), "--output", str(run)])
    metrics = run / "metrics.jsonl"
    while not metrics.exists() and process.poll() is None:
        time.sleep(POLL_SECONDS)
    report(follow(metrics, process), task)
    if process.wait() != 0:
        raise SystemExit(process.returncode)


def launcher(task: Task) -> list[str]:
    """Give the words before the verb."""
    hftune = [sys.executable, "-m", "hftune"]
    if task.processes == 1:
        return hftune
    return [*hftune, "launch", "--num_processes", str(task.processes)]


def make_recipe(task: Task) -> dict[str, object]:
    """Give the task as a recipe; what it does not mention is left as hftune has it."""
    recipe: dict[str, object] = {
        "run": "bench",
        "model": {"repo": str(task.weights.absolute())},
        "data": {"source": {"name": "image_folder", "path": str(task.images.absolute())}},
        "optim": {
            "lr": task.lr,
            "weight_decay": task.weight_decay,
            "method": "adamw",
            "schedule": "constant",
        },
        "train": {
            "length": f"{task.epochs} epochs",
            "batch_size": task.batch_size,
            "precision": task.precision,
            "seed": task.seed,
        },
        "eval": {"every": "1 epoch" if task.judge_every_epoch else f"{task.epochs} epochs"},
        "track": {"every": f"{report_every(task)} steps"},
    }
    if task.augment:
        crop = {"name": "random_resized_crop", "min_scale": task.min_scale}
        recipe["data"] |= {"augment": [crop, "horizontal_flip"]}
    if task.trains == "head":
        recipe["unfreeze"] = [{"at": "0%", "train": ["head"]}]
    elif task.trains == "second-half":
        recipe["freeze"] = {"stages": parts_of(task.weights).first_stages}
    for word in task.options:
        set_option(recipe, word)
    return recipe


def set_option(recipe: dict[str, object], word: str) -> None:
    """Put `key.path=value` into a recipe."""
    path, _, value = word.partition("=")
    *above, key = path.split(".")
    for name in above:
        recipe = recipe.setdefault(name, {})  # type: ignore[assignment]
    recipe[key] = json.loads(value)


def report_every(task: Task) -> int:
    """Give the steps between lines: each of a short run, and about forty of a long one."""
    num_images = sum(1 for path in (task.images / "train").rglob("*") if path.is_file())
    return max(1, task.epochs * (num_images // task.batch_size) // 40)


def follow(metrics: Path, process: subprocess.Popen[bytes]) -> Iterator[dict[str, object]]:
    """Give the lines of metrics.jsonl as they are written, until the run ends."""
    if not metrics.exists():
        return
    with metrics.open() as stream:
        rest, over = "", False
        while True:
            over = over or process.poll() is not None
            rest += stream.read()
            *lines, rest = rest.split("\n")
            yield from map(json.loads, lines)
            if over:
                return
            time.sleep(POLL_SECONDS)


def report(entries: Iterator[dict[str, object]], task: Task) -> None:
    """Tell of the first step, every evaluation, and the training part.

    The training part begins when the file appears, before anything frozen is computed.
    """
    began = last = time.perf_counter()
    rates: list[tuple[int, float]] = []  # images, and seconds
    done = 0
    for entry in entries:
        now = time.perf_counter()
        if entry["kind"] == "train":
            if not done:
                say("first_step")
            images = (entry["step"] - done) * task.batch_size
            if done >= WARM_UP_STEPS:
                rates.append((images, images / entry["images_per_second"]))
            done, last = entry["step"], now
        elif entry["kind"] == "eval":
            values = entry["values"]
            say(
                "judged",
                accuracy=values["accuracy"],
                balanced_accuracy=values["balanced_accuracy"],
                num_images=entry["num_examples"],
            )
    seconds = sum(seconds for _, seconds in rates)
    rate = sum(images for images, _ in rates) / seconds if rates else None
    say("trained", images_per_second=rate, seconds=last - began)


def time_evaluation(recipe: Path) -> None:
    """Judge twice by the public function, and tell how fast the second pass was."""
    from hftune.finetune import prepare  # Here alone this process computes.
    from hftune.recipe import resolve_recipe
    from hftune.train.evaluate import evaluate

    prepared = prepare(resolve_recipe(str(recipe), []).recipe)
    split = prepared.splits.val
    for _ in range(2):
        before = time.perf_counter()
        result = evaluate(prepared.model, split, prepared.plan.recipe)
        seconds = time.perf_counter() - before
    say("judged", **{name: result.values[name] for name in ("accuracy", "balanced_accuracy")})
    say("evaluated", images_per_second=result.num_examples / seconds)


if __name__ == "__main__":
    main(read_task(__doc__))
