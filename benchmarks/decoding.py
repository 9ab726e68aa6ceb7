"""What it costs to decode an image: by decoder with the difference in pixels, and from the cache.

    python benchmarks/decoding.py [--repeats 9]

Pillow, which hftune decodes with, against torchvision.io, and simplejpeg and OpenCV where they are
installed (pip install simplejpeg opencv-python-headless). Times are CPU time of one core, medians
of interleaved repeats. Prints two Markdown tables.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from itertools import count
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torchvision.io
from PIL import Image, features

from hftune.core import InputSpec
from hftune.data.decode import decode
from hftune.data.image_cache import ImageCache, make_cache, open_cache
from hftune.data.image_input import TrainTransform, train_transform
from hftune.files import digest_json
from hftune.recipe.schema import Component
from hftune.train.run_folder import processor_name

PHOTO = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
SPEC = InputSpec(
    channels=3, height=224, width=224, mean=(0.5,) * 3, std=(0.5,) * 3,
    interpolation="bicubic", crop_fraction=0.875,
)  # fmt: skip
CROP = Component(name="random_resized_crop", options={"min_scale": 0.35})
LOOPS = 4
GIB = 2**30

# Each gives what hftune works with: an image of Pillow.
Decoder = Callable[[bytes], Image.Image]


def by_pillow(content: bytes) -> Image.Image:
    """Decode as hftune does."""
    return decode(content, name="it")


def by_torchvision(content: bytes) -> Image.Image:
    """Decode by torchvision's own reader."""
    stored = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    is_jpeg = content[:2] == b"\xff\xd8"
    pixels = (torchvision.io.decode_jpeg if is_jpeg else torchvision.io.decode_png)(stored)
    image = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def by_opencv(content: bytes) -> Image.Image:
    """Decode by OpenCV, which gives blue first."""
    import cv2

    how = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), how)
    grey = pixels.ndim == 2
    return Image.fromarray(pixels if grey else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def by_simplejpeg(content: bytes) -> Image.Image:
    """Decode by libjpeg-turbo's own interface, with the exact transform and smooth colours."""
    import simplejpeg

    colours = simplejpeg.decode_jpeg_header(content)[2]
    space = "GRAY" if colours == "Gray" else "RGB"
    pixels = simplejpeg.decode_jpeg(content, space, fastdct=False, fastupsample=False)
    return Image.fromarray(pixels[..., 0] if space == "GRAY" else pixels)


def decoders() -> dict[str, Decoder]:
    """Give the decoders that are installed, hftune's own first."""
    found: dict[str, Decoder] = {"Pillow": by_pillow, "torchvision.io": by_torchvision}
    if find_spec("cv2"):
        found["OpenCV"] = by_opencv
    if find_spec("simplejpeg"):
        found["simplejpeg"] = by_simplejpeg
    return found


def photograph(width: int) -> Image.Image:
    """Give a portrait at this width, with grain in every pixel."""
    with Image.open(PHOTO) as photo:
        size = (width, width * photo.height // photo.width)
        large = photo.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).normal(0, 6, size=(large.height, large.width, 1))
    return Image.fromarray((np.asarray(large) + grain).clip(0, 255).astype(np.uint8))


def stored(image: Image.Image, form: str, **options: object) -> bytes:
    """Give the image as a file's bytes."""
    stream = BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def kinds() -> dict[str, bytes]:
    """Give images of the kinds that data sets are made of, an odd size among them."""
    photo, odd = photograph(500), photograph(333)
    return {
        "JPEG 4:2:0, 500 px": stored(photo, "JPEG", quality=90, subsampling=2),
        "JPEG 4:2:2, 500 px": stored(photo, "JPEG", quality=90, subsampling=1),
        "JPEG 4:4:4, 500 px": stored(photo, "JPEG", quality=90, subsampling=0),
        "JPEG 4:2:0, 333 px": stored(odd, "JPEG", quality=75, subsampling=2),
        "JPEG 4:2:0, 1500 px": stored(photograph(1500), "JPEG", quality=90, subsampling=2),
        "JPEG progressive, 500 px": stored(photo, "JPEG", quality=90, progressive=True),
        "JPEG grey, 300 px": stored(photograph(300).convert("L"), "JPEG", quality=90),
        "PNG, 500 px": stored(photo, "PNG"),
        "PNG grey, 300 px": stored(photograph(300).convert("L"), "PNG"),
    }


def seconds(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Give the median CPU seconds of each way, taken in turns."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            before = time.process_time()
            for _ in range(LOOPS):
                way()
            taken[name].append((time.process_time() - before) / LOOPS)
    return {name: statistics.median(of) for name, of in taken.items()}


def compare_decoders(repeats: int) -> None:
    """Print images a second of Pillow; of the others the ratio and the largest difference."""
    readers = decoders()
    others = [name for name in readers if name != "Pillow"]
    print("| | Pillow, images/s |", " | ".join(others), "|")
    print("|---|---|" + "---|" * len(others))
    for kind, content in kinds().items():
        able = {name: read for name, read in readers.items() if can_read(name, kind)}
        ways = {name: partial(read, content) for name, read in able.items()}
        taken = seconds(ways, repeats)
        wanted = np.asarray(by_pillow(content)).astype(int)
        cells = []
        for name in others:
            if name not in able:
                cells.append("-")
                continue
            differs = int(np.abs(np.asarray(able[name](content)) - wanted).max())
            cells.append(f"{taken['Pillow'] / taken[name]:.2f}x, differs by {differs}")
        print(f"| {kind} | {1 / taken['Pillow']:,.0f} |", " | ".join(cells), "|")


def can_read(decoder: str, kind: str) -> bool:
    """Say whether a decoder is one for this kind of file."""
    return decoder != "simplejpeg" or kind.startswith("JPEG")


def compare_cache(repeats: int) -> None:
    """Print what the ways of getting an image cost, alone and with a random crop to 224 px."""
    transform = train_transform(SPEC, (CROP,))
    print("| | decode, images/s | first epoch | from the cache | draft | the same with a crop |")
    print("|---|---|---|---|---|---|")
    for kind, content in kinds().items():
        kept = empty_cache(digest_json(kind))
        kept.put(0, decode(content, name="it"))
        ways: dict[str, Callable[[], Image.Image]] = {
            "decode": partial(decode, content, name="it"),
            "fill": partial(filled, kept, count(1), content),
            "kept": partial(taken_from, kept),
            "draft": partial(decode, content, name="it", draft=3 * SPEC.height),
        }
        alone = seconds(ways, repeats)
        crops_of = {
            name: partial(cropped, transform, way) for name, way in ways.items() if name != "fill"
        }
        taken = seconds(crops_of, repeats)
        ratios = [f"{alone['decode'] / alone[name]:.2f}x" for name in ("fill", "kept", "draft")]
        crops = [f"{taken['decode'] / taken[name]:.2f}x" for name in ("kept", "draft")]
        print(
            f"| {kind} | {1 / alone['decode']:,.0f} |", " | ".join(ratios),
            f"| {1 / taken['decode']:,.0f}; {crops[0]} from the cache; {crops[1]} as draft |",
        )  # fmt: skip


def empty_cache(key: str) -> ImageCache:
    """Make a cache with room for a million images."""
    make_cache(key, length=10**6, says="benchmark")
    cache = open_cache(key, limit=20 * GIB)
    if cache is None:
        raise SystemExit("no cache can be made here")
    return cache


def filled(cache: ImageCache, rows: Iterator[int], content: bytes) -> Image.Image:
    """Decode and keep, as the first epoch does."""
    image = decode(content, name="it")
    cache.put(next(rows), image)
    return image


def cropped(transform: TrainTransform, give: Callable[[], Image.Image]) -> torch.Tensor:
    """Give the pixels that a model is trained on."""
    return transform(give(), np.random.default_rng(0))


def taken_from(cache: ImageCache) -> Image.Image:
    """Take the first image."""
    image = cache.get(0)
    if image is None:
        raise SystemExit("the cache lost its image")
    return image


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    if find_spec("cv2"):
        import cv2

        cv2.setNumThreads(1)
    libraries = ", ".join(f"{name} {features.version(name)}" for name in ("libjpeg_turbo", "zlib"))
    print(f"{processor_name()}; Pillow {Image.__version__} ({libraries})\n")
    compare_decoders(wanted.repeats)
    print()
    with tempfile.TemporaryDirectory(prefix="hftune-decoding-") as folder:
        os.environ["HFTUNE_CACHE"] = folder
        compare_cache(wanted.repeats)


if __name__ == "__main__":
    main()
