"""Load published models as somebody does who has timm or transformers, and no hftune.

Run as a script in a fresh process, never imported. Each line of its input is a JSON object: READER,
SOURCE and PROBE. It reads the probe's images, runs them through the reader's own transform and
model, and answers in a line with the class names and logits as JSON. READER is timm (SOURCE
"local-dir:FOLDER" or "hf-hub:ID") or transformers (SOURCE a folder or a repository id).
"""

# ruff: noqa: E402

import gc

gc.disable()  # before what takes longest: imports, among which it finds nothing to collect

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import timm
import timm.data
import torch
from PIL import Image
from safetensors.torch import load_file

Answer = tuple[list[str], torch.Tensor]


def read_images(probe: Path) -> list[Image.Image]:
    """Give the images of a probe file, in their order."""
    tensors = load_file(probe)
    count = sum(name.startswith("image.") for name in tensors)
    return [Image.fromarray(tensors[f"image.{i}"].numpy()) for i in range(count)]


def ask_timm(source: str, images: list[Image.Image]) -> Answer:
    """Give class names and logits [N, K] as timm reads the model."""
    model = timm.create_model(source, pretrained=True).eval()
    transform = timm.data.create_transform(
        **timm.data.resolve_model_data_config(model), is_training=False
    )
    inputs = torch.stack([transform(image) for image in images])
    return list(model.pretrained_cfg["label_names"]), model(inputs)


def ask_transformers(source: str, images: list[Image.Image]) -> Answer:
    """Give class names and logits [N, K] as transformers' image-classification pipeline does."""
    from transformers import pipeline  # optional: only where this reader is asked

    pipe = pipeline("image-classification", model=source, device="cpu")
    assert pipe.image_processor is not None
    inputs = pipe.image_processor(images, return_tensors="pt")
    names = sorted((int(i), str(name)) for i, name in (pipe.model.config.id2label or {}).items())
    return [name for _, name in names], pipe.model(**inputs).logits


READERS: dict[str, Callable[[str, list[Image.Image]], Answer]] = {
    "timm": ask_timm,
    "transformers": ask_transformers,
}


def main() -> None:
    """Answer every question until the input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    for line in sys.stdin:
        question = json.loads(line)
        images = read_images(Path(question["probe"]))
        with torch.inference_mode():
            names, logits = READERS[question["reader"]](question["source"], images)
        answers.write(json.dumps({"label_names": names, "logits": logits.float().tolist()}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
