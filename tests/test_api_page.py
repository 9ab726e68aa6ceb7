"""Every example of docs/api.md runs, in the order of the page, as one program."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hftune.hub.server import RunningHub

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"
RECIPE = """
run: cats
model: {architecture: test_resnet, pretrained: false, image_size: 32}
data: {source: {name: image_folder, path: ./images}, workers: 0}
train: {batch_size: 8}
"""


def draw_images(folder: Path) -> None:
    """Two classes that differ in brightness."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 4)):
        for name, level in (("cat", 80), ("dog", 170)):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.normal(level, 30, size=(40, 40, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")


@pytest.mark.slow
def test_the_examples_run(tmp_path: Path, local_hub: RunningHub) -> None:
    draw_images(tmp_path / "images")
    (tmp_path / "cats.yaml").write_text(RECIPE)
    (tmp_path / "photo.png").write_bytes((tmp_path / "images/test/dog/0.png").read_bytes())
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    program = "\n".join(blocks).replace("me/cats", f"{local_hub.user}/cats")
    environment = local_hub.environment | {"HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "6 of 6\n" in done.stdout  # 32 images less 10% for validation, in batches of 8, twice
    assert "did you mean 'layer_decay'?" in done.stdout
    assert "photo.png" in done.stdout
