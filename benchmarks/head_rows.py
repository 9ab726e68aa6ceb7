"""A class more for a model that knows the others: rows kept by name beside a head that is new.

    python -m benchmarks.head_rows [--seeds 3] [--folder FOLDER]

The images are the solar cells of the package elpv-dataset at 160 pixels, in four classes: mono- or
polycrystalline, functional or defective. EfficientNet-Lite0 first learns three of them; that model
then learns all four for one epoch, by the head alone and as a whole, with `model.head_rows` by_name
and new. Prints a Markdown table over the test images: accuracy over all and over those of the three
old classes, before the first step and after the epoch, as mean (sd) over the seeds.
"""

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hftune import Recipe, evaluate, finetune, load_recipe
from hftune.core import EvalResult
from hftune.data.seed_elpv import Cell, read_cells, split_cells
from hftune.finetune import prepare
from hftune.model.seed_backbone import write_backbone

NEW = "poly defective"
ROWS = ("by_name", "new")
TRAINED = {"head alone": ["unfreeze=[{train: [head]}]", "optim.lr=3e-3"], "all": []}
RECIPE = """\
run: rows
model: {repo: ., image_size: 160}
data: {source: {name: image_folder, path: .}, val: 10%}
optim: {lr: 5e-4, layer_decay: 0.85, rates: {head: 3x}, schedule: {name: cosine, warmup: 10%}}
train: {length: 1 epochs, batch_size: 32, precision: fp32}
"""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Accuracy over all test images, and over those of the classes that the base knew."""

    every: float
    old: float


def name_of(cell: Cell) -> str:
    """Give the class of a cell among the four."""
    return f"{cell.module_type} {cell.label}"


def write_images(folder: Path, *, without: str | None = None) -> None:
    """Fill `folder` with SPLIT/CLASS/*.png, but for the class `without`."""
    for split, cells in split_cells(read_cells()).items():
        for cell in cells:
            if name_of(cell) != without:
                place = folder / split / name_of(cell)
                place.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(cell.path, place / cell.path.name)


def recipe_for(folder: Path, base: Path, images: Path, *changes: str) -> Recipe:
    """Give the recipe above for this base and these images, changed as by a command."""
    path = folder / "rows.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    places = (f"model.repo={base}", f"data.source.path={images}")
    return load_recipe(str(path), (*places, *changes))


def judged(result: EvalResult) -> Judged:
    """Take both accuracies from one evaluation: recall of the old classes, by their images."""
    old = [row for name, row in result.per_class.items() if name != NEW]
    right = sum(row["recall"] * row["count"] for row in old)
    return Judged(every=result.values["accuracy"], old=right / sum(row["count"] for row in old))


def learn_class(recipe: Recipe, run: Path) -> tuple[Judged, Judged]:
    """Judge before the first step, train, and judge again; on the test images."""
    prepared = prepare(recipe)
    assert prepared.splits.test is not None
    before = judged(evaluate(prepared.model, prepared.splits.test, recipe))
    result = finetune(recipe, output=run).results.of("test")
    assert result is not None
    return before, judged(result)


def spread(values: Sequence[float]) -> str:
    """Give mean and standard deviation."""
    return f"{statistics.mean(values):.3f} ({statistics.stdev(values):.3f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where runs stay; without it they go away")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as aside:
        measure(wanted.folder or Path(aside), seeds=range(wanted.seeds))


def measure(folder: Path, *, seeds: Sequence[int]) -> None:
    """Train the base and every arm with every seed, and print the table."""
    three, four, backbone = folder / "three", folder / "four", folder / "backbone"
    if not backbone.is_dir():
        write_images(three, without=NEW)
        write_images(four)
        backbone.mkdir()
        write_backbone(backbone)
    recipe = recipe_for(folder, backbone, three, "train.length=3 epochs")
    base = finetune(recipe, output=folder / "base")
    assert base.artifact is not None
    known = base.results.of("test")
    assert known is not None
    print(f"the base: accuracy {known.values['accuracy']:.3f} over {known.num_examples} images\n")
    print("| trained | head | all, before | old, before | all, after | old, after |")
    print("|---|---|---|---|---|---|")
    for trained, changes in TRAINED.items():
        for rows in ROWS:
            pairs = []
            for seed in seeds:
                settings = (*changes, f"model.head_rows={rows}", f"train.seed={seed}")
                arm = recipe_for(folder, base.artifact.folder, four, *settings)
                run = folder / f"{trained}-{rows}-{seed}"
                pairs.append(learn_class(arm, run))
            before, after = zip(*pairs, strict=True)
            cells = [
                spread([getattr(one, name) for one in some])
                for some in (before, after)
                for name in ("every", "old")
            ]
            print(f"| {trained} | {rows} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
