"""The run that is disturbed: its images and its recipe, for a model that trains in seconds."""

from pathlib import Path

SAVE_EVERY = 2
STEPS = 12

RECIPE = """\
run: chaos
model: {{architecture: {architecture}, pretrained: false, image_size: 32, drop_rate: 0.1}}
data:
  source: {{name: image_folder, path: {images}}}
  workers: {workers}
  augment: [{{name: random_resized_crop, min_scale: 0.5}}, {{name: horizontal_flip}}]
  mix: {{mixup: 0.4}}
optim:
  lr: 1e-3
  ema: 0.9
  schedule: {{name: plateau, metric: loss, patience: 0, factor: 0.5, threshold: 10}}
unfreeze:
  - {{at: 0%, train: [head]}}
  - {{at: 4 steps, train: [head, stage.-1], lr_factor: 0.5, warmup: 2 steps}}
  - {{at: 8 steps, train: [all]}}
train: {{length: {steps} steps, batch_size: 8, micro_batch_size: 4, precision: fp32}}
eval: {{every: 3 steps, best: accuracy}}
track: {{every: 1 steps}}
save: {{every: {save_every} steps, keep: 2}}
"""

# Features are made at the start of both phases; images are decoded by then, and read again in the
# second epoch.
KEEPING = """\
run: keeping
model: {{architecture: {architecture}, pretrained: false, image_size: 32, drop_rate: 0.1}}
data: {{source: {{name: image_folder, path: {images}}}, workers: {workers}}}
unfreeze:
  - {{at: 0%, train: [head]}}
  - {{at: 6 steps, train: [head, stage.-1]}}
train:
  length: {steps} steps
  batch_size: 16
  micro_batch_size: 8
  precision: fp32
  cache: {{features: "on"}}
eval: {{every: 3 steps, best: accuracy}}
track: {{every: 1 steps}}
save: {{every: {save_every} steps, keep: 2}}
"""
# More than one part of features holds.
KEEPING_IMAGES = 136


def draw_images(root: Path, *, train: int = 32) -> None:
    """Draw two classes of noisy squares; 13 validation and 9 test images divide by nothing."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, number in (("train", train), ("val", 13), ("test", 9)):
        for row in range(number):
            name, level = (("dark", 100), ("light", 150))[row % 2]
            path = root / split / name / f"{row:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.normal(level, 40, size=(40, 48, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path)


def write_recipe(
    folder: Path, *, workers: int, architecture: str = "test_resnet", text: str = RECIPE
) -> Path:
    """Write the recipe over the images in `folder`."""
    path = folder / "chaos.yaml"
    path.write_text(
        text.format(
            images=folder / "images",
            workers=workers,
            architecture=architecture,
            steps=STEPS,
            save_every=SAVE_EVERY,
        )
    )
    return path
