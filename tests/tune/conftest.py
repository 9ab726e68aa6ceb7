"""A recipe over a few drawn images, to be searched in this process."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RECIPE = """\
run: small
model: {{architecture: test_vit, pretrained: false, image_size: 32}}
data:
  source: {{name: image_folder, path: {images}}}
  workers: 0
  augment: [{{name: random_resized_crop, min_scale: 0.5}}, {{name: horizontal_flip}}]
optim: {{lr: 1e-3}}
train: {{length: 2 epochs, batch_size: 8, precision: fp32}}
eval: {{every: 1 epoch, best: accuracy}}
"""


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noisy squares, in three splits."""
    root = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    for split, number in (("train", 16), ("val", 7), ("test", 4)):
        for row in range(number):
            name, level = (("dark", 100), ("light", 130))[row % 2]
            path = root / split / name / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.normal(level, 60, size=(32, 32, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path)
    return root


@pytest.fixture
def write_recipe(squares: Path, tmp_path: Path) -> Callable[[], str]:
    """Give a writer of the small recipe's file."""

    def write(name: str = "small.yaml") -> str:
        path = tmp_path / name
        path.write_text(RECIPE.format(images=squares))
        return str(path)

    return write


@pytest.fixture
def source(write_recipe: Callable[[], str]) -> str:
    return write_recipe()
