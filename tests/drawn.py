"""Small models, small splits and a recipe to train them with: seconds, not minutes."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import timm
import torch
from PIL import Image

from hftune.core import (
    BaseFacts,
    DataFacts,
    InputSpec,
    LabelSpace,
    Model,
    Split,
    Splits,
    WeightsReport,
)
from hftune.errors import DataError
from hftune.model.layer_map import map_layers
from hftune.recipe.schema import (
    Component,
    DataRecipe,
    EvalRecipe,
    ModelRecipe,
    OptimRecipe,
    Recipe,
    SaveRecipe,
    TrackRecipe,
    TrainRecipe,
)

SIZE = 32
LABELS = LabelSpace(names=("dark", "bright"))


@dataclass(frozen=True)
class DrawnRows:
    """Grey squares with noise; bright ones are class 1."""

    seed: int
    number: int

    def __len__(self) -> int:
        return self.number

    def image(self, row: int) -> Image.Image:
        rng = np.random.default_rng((self.seed, row))
        level = 150 if self.targets[row] else 100
        pixels = rng.normal(level, 30, size=(SIZE, SIZE, 3)).clip(0, 255).astype(np.uint8)
        return Image.fromarray(pixels)

    def key(self, row: int) -> str:
        return f"drawn/{self.seed}/{row}"

    @property
    def targets(self) -> np.ndarray:
        return (np.arange(self.number) % 2).astype(np.int64)


@dataclass(frozen=True)
class DamagedRows(DrawnRows):
    """Grey squares of which some cannot be read."""

    bad: frozenset[int] = frozenset()

    def image(self, row: int) -> Image.Image:
        if row in self.bad:
            raise DataError("this image cannot be read", found="cut short", where=self.key(row))
        return super().image(row)


def damage(split: Split, bad: Collection[int]) -> Split:
    """The same split, after the images of some rows went bad."""
    rows = DamagedRows(split.rows.seed, len(split), frozenset(bad))
    return replace(split, rows=rows)


def drawn_splits(*, train: int = 24, val: int = 11, test: int = 7) -> Splits:
    sizes = {"train": train, "val": val, "test": test}
    made = {
        name: Split(
            name=name, rows=DrawnRows(seed, size), labels=LABELS, digest=f"{name}-{seed}-{size}"
        )
        for seed, (name, size) in enumerate(sizes.items())
    }
    facts = DataFacts(path="drawn", split_rule="drawn for tests")
    return Splits(**made, labels=LABELS, facts=facts)


def tiny_model(architecture: str = "test_vit", *, seed: int = 0, **options: object) -> Model:
    """A timm test architecture at 32 pixels with two classes."""
    torch.manual_seed(seed)
    if architecture.startswith("test_vit"):
        options["img_size"] = SIZE
    module = timm.create_model(architecture, num_classes=2, **options)
    spec = InputSpec(
        channels=3,
        height=SIZE,
        width=SIZE,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        interpolation="bicubic",
        crop_fraction=1.0,
    )
    return Model(
        module=module,
        input_spec=spec,
        layers=map_layers(module),
        weights=WeightsReport(),
        base=BaseFacts(architecture=architecture, pretrained=False),
    )


def tiny_recipe(**changes: object) -> Recipe:
    recipe = Recipe(
        run="tiny",
        model=ModelRecipe(architecture="test_vit", pretrained=False, image_size=SIZE),
        data=DataRecipe(source=Component(name="image_folder", options={"path": "x"}), workers=0),
        optim=OptimRecipe(lr=1e-3, schedule=Component(name="cosine", options={"warmup": "10%"})),
        train=TrainRecipe(length="3 epochs", batch_size=8, precision="fp32"),
        eval=EvalRecipe(every="1 epoch", best="accuracy"),
        save=SaveRecipe(every="1 h", keep=2),
        track=TrackRecipe(every="1 steps"),
    )
    return replace(recipe, **changes)
