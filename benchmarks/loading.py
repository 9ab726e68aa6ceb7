"""What loading costs: in a worker, on the way, and in the process that trains.

    python benchmarks/loading.py

Prints Markdown. Times are those of the processor, medians of interleaved repeats, so that other
programs count for little; only their ratios mean anything. Images: a portrait that comes with
matplotlib, as a grey PNG of 300 x 300 and as a colour JPEG of 500 x 375, and a model of 224 x 224.
"""

import io
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hftune.core import InputSpec
from hftune.data.augment import Given, make_augmentations, python_random
from hftune.data.batch_augment import apply_deferred
from hftune.data.decode import decode
from hftune.data.image_input import TrainTransform, model_inputs, normalise, train_transform
from hftune.data.order import augmentation_random
from hftune.recipe.schema import Component

PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
SPEC = InputSpec(
    channels=3, height=224, width=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
    interpolation="bicubic", crop_fraction=0.875,
)  # fmt: skip
CROP = Component(name="random_resized_crop", options={"min_scale": 0.5})
FLIP = Component(name="horizontal_flip")
BATCH = 32
REPEATS = 7
CPU = torch.device("cpu")


def processor_seconds(works: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Give the median processor time of each work, all of them taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for repeat in range(REPEATS + 1):
        for name, work in works.items():
            before = time.thread_time()
            work()
            if repeat:  # the first warms up
                taken[name].append(time.thread_time() - before)
    return {name: statistics.median(times) for name, times in taken.items()}


def stored_images() -> dict[str, bytes]:
    """Give one image of either kind as a file holds it."""
    with Image.open(PORTRAIT) as opened:
        portrait = opened.convert("RGB")
    found = {}
    for name, image, form in (
        ("grey PNG, 300 x 300", portrait.convert("L").resize((300, 300)), "PNG"),
        ("colour JPEG, 500 x 375", portrait.crop((0, 0, 512, 384)).resize((500, 375)), "JPEG"),
    ):
        stream = io.BytesIO()
        image.save(stream, form)
        found[name] = stream.getvalue()
    return found


def worker_parts(content: bytes) -> dict[str, float]:
    """Give the share of each part in what a worker does to an image, of decoding and augmenting."""
    image = decode(content, name="image")
    whole = train_transform(SPEC, [CROP, FLIP])
    given = Given(size=(224, 224), interpolation="bicubic", fill=(124, 116, 104))
    names = ("horizontal_flip", "random_erasing", "grayscale", "color_jitter")
    options = {"color_jitter": {}} | {name: {"p": 1.0} for name in names[:3]}
    later = {
        name: make_augmentations([Component(name=name, options=options[name])], given)[0]
        for name in names
    }
    rng = np.random.default_rng(0)
    cut = whole.augmentations[0](image, rng)

    def put_by() -> None:
        with python_random(rng):
            pass

    times = processor_seconds(
        {
            "decode": lambda: decode(content, name="image"),
            "crop, flip, pixels": lambda: whole(image, augmentation_random(0, 0, 1)),
            "(no longer: NumPy's generator put by)": put_by,
            **{f"({name})": lambda do=do: do(cut, rng) for name, do in later.items()},  # type: ignore[misc]
        }
    )
    total = times["decode"] + times["crop, flip, pixels"]
    return {name: seconds / total for name, seconds in times.items()}


def transport() -> dict[str, float]:
    """Give the processor time of either side of a batch's way, over that of the old way's sum."""
    images = torch.randint(256, (BATCH, 224, 224, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    shape, last = (BATCH, 3, 224, 224), torch.channels_last
    floats = normalise(images.contiguous(), SPEC)

    def shared(batch: Tensor) -> Tensor:
        return batch.clone().share_memory_()

    def old_worker() -> None:
        pixels = torch.empty(shape, dtype=torch.uint8)
        for position in range(BATCH):
            pixels[position] = images[position]
        shared(normalise(pixels, SPEC))

    def new_worker() -> None:
        pixels = torch.empty(shape, dtype=torch.uint8, memory_format=last)
        for position in range(BATCH):
            pixels[position] = images[position]
        shared(pixels)

    times = processor_seconds(
        {
            "float32: worker": old_worker,
            "float32: trainer": lambda: floats.contiguous(memory_format=last),
            "uint8: worker": new_worker,
            "uint8: trainer": lambda: model_inputs(images, SPEC, device=CPU, layout=last),
        }
    )
    old = times["float32: worker"] + times["float32: trainer"]
    return {name: seconds / old for name, seconds in times.items()}


def deferred_against_worker() -> dict[str, float]:
    """Give the processor time of augmenting a whole batch here over that of image by image."""
    pixels = torch.randint(256, (BATCH, 224, 224, 3), dtype=torch.uint8)
    images = [Image.fromarray(image.numpy()) for image in pixels]
    found = {}
    for name in ("horizontal_flip", "random_erasing", "grayscale", "color_jitter"):
        plain = train_transform(SPEC, [CROP, Component(name=name)])
        late = TrainTransform(SPEC, plain.augmentations[1:]).deferring()
        (augment,) = plain.augmentations[1:]
        drawn = [late.decide(one, np.random.default_rng(n))[1] for n, one in enumerate(images)]
        batch, numbers = pixels.permute(0, 3, 1, 2), torch.tensor(drawn, dtype=torch.float64)
        times = processor_seconds(
            {
                "singly": lambda augment=augment: [  # type: ignore[misc]
                    augment(one, np.random.default_rng(n)) for n, one in enumerate(images)
                ],
                "together": lambda late=late, batch=batch, numbers=numbers: apply_deferred(  # type: ignore[misc]
                    late.deferred, batch, numbers
                ),
            }
        )
        found[name] = times["together"] / times["singly"]
    return found


def print_table(title: str, rows: Mapping[str, float]) -> None:
    """Print ratios by name as a Markdown table."""
    print(f"\n| {title} | ratio |\n|---|---|")
    for name, value in rows.items():
        print(f"| {name} | {value:.2f} |")


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    for name, content in stored_images().items():
        print_table(f"a worker's time on a {name}", worker_parts(content))
    print_table(f"the way of {BATCH} images, of the old way's processor time", transport())
    print_table("a batch augmented on this CPU, over image by image", deferred_against_worker())


if __name__ == "__main__":
    main()
