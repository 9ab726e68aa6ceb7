"""What the data audit finds, what it takes for duplicates wrongly, and what it costs.

    python benchmarks/audit.py

Prints Markdown. Real images: the solar cells of the package elpv-dataset, and windows of the
portrait that comes with matplotlib. Thresholds were chosen on the first and second of every four
cells and on other photographs; what is printed is of the third and fourth, and of the portrait.
"""

import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

from hftune.data.decode import decode
from hftune.data.duplicates import (
    earlier_exact_twins,
    earlier_near_twins,
    exact_twins,
    near_twins,
)
from hftune.data.fingerprints import Fingerprints, fingerprint, join
from hftune.data.header import read_header
from hftune.data.seed_elpv import read_cells
from hftune.data.workers import available_cores, produce

PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
WINDOW = (128, 150)
NUM_DRAWN = 100_000
_ORIENTATION = 0x0112

Damage = Callable[[Image.Image], bytes]


def stored(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    """Encode an image."""
    quick = {"compress_level": 1} if form == "PNG" else {}
    stream = io.BytesIO()
    image.save(stream, form, **quick, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def turned(image: Image.Image, form: str, **options: object) -> bytes:
    """Encode an image lying on its side, with the EXIF orientation that sets it upright."""
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    return stored(image.transpose(Image.Transpose.ROTATE_90), form, exif=exif, **options)


def resized(image: Image.Image, share: float, filter_: Image.Resampling) -> Image.Image:
    """Give an image at another size."""
    return image.resize((round(image.width * share), round(image.height * share)), filter_)


_BILINEAR, _BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
DAMAGES: Mapping[str, Damage] = {
    "rotated, EXIF orientation 6": lambda image: turned(image, "PNG"),
    "rotated, EXIF orientation 6, JPEG 90": lambda image: turned(image, "JPEG", quality=90),
    "stored as BMP": lambda image: stored(image, "BMP"),
    "stored as lossless WebP": lambda image: stored(image, "WEBP", lossless=True),
    "stored as WebP 80": lambda image: stored(image, "WEBP", quality=80),
    "grey stored as RGB": lambda image: stored(image.convert("RGB")),
    "JPEG 95": lambda image: stored(image, "JPEG", quality=95),
    "JPEG 75": lambda image: stored(image, "JPEG", quality=75),
    "JPEG 50": lambda image: stored(image, "JPEG", quality=50),
    "50 %, bilinear": lambda image: stored(resized(image, 0.5, _BILINEAR)),
    "70 %, bicubic": lambda image: stored(resized(image, 0.7, _BICUBIC)),
    "150 %, bilinear": lambda image: stored(resized(image, 1.5, _BILINEAR)),
    "200 %, bicubic": lambda image: stored(resized(image, 2, _BICUBIC)),
    "50 % and JPEG 75": lambda image: stored(resized(image, 0.5, _BICUBIC), "JPEG", quality=75),
}


def portrait_windows() -> list[Image.Image]:
    """Cut a colour portrait into windows that do not overlap."""
    with Image.open(PORTRAIT) as opened:
        portrait = opened.convert("RGB")
    width, height = WINDOW
    return [
        portrait.crop((x, y, x + width, y + height))
        for x in range(0, portrait.width - width + 1, width)
        for y in range(0, portrait.height - height + 1, height)
    ]


def prints_of(images: Sequence[Image.Image], damage: Damage) -> Fingerprints:
    """Damage, encode, decode and fingerprint every image."""

    def make(position: int) -> Fingerprints:
        return fingerprint(decode(damage(images[position]), name="it"))

    return join(list(produce(make, range(len(images)), workers=available_cores())))


def found(images: Sequence[Image.Image], damage: Damage, originals: Fingerprints) -> str:
    """Give the share of damaged images for which their own original was found."""
    prints = prints_of(images, damage)
    exact = exact_twins(prints, originals)
    twins = np.maximum(exact, near_twins(prints, originals, exact))
    return f"{(twins == np.arange(len(images))).mean():.1%} ({(exact >= 0).mean():.0%} exact)"


def false_share(prints: Fingerprints) -> str:
    """Give how many of images that are all distinct are taken for duplicates."""
    exact = earlier_exact_twins(prints)
    near = earlier_near_twins(prints, exact)
    number = int((np.maximum(exact, near) >= 0).sum())
    return f"{number} of {len(prints):,} ({number / len(prints):.2%})"


def seconds_each(paths: Sequence[Path], work: Callable[[Path], object]) -> float:
    """Give the processor time of one image in one process; the best of three rounds."""
    rounds = []
    for _ in range(3):
        start = time.process_time()
        for path in paths:
            work(path)
        rounds.append((time.process_time() - start) / len(paths))
    return min(rounds)


def looked_at(path: Path) -> Fingerprints:
    """Do to a file what the scan does."""
    read_header(path, name="it")
    return fingerprint(decode(path, name="it"))


def drawn_prints(number: int) -> Fingerprints:
    """Draw fingerprints that have nothing in common."""
    rng = np.random.default_rng(0)
    return Fingerprints(
        digests=rng.integers(0, 256, (number, 16), dtype=np.uint8),
        hashes=rng.integers(0, 2**64, number, dtype=np.uint64),
        copies=rng.integers(0, 256, (number, 16, 16), dtype=np.uint8),
        colours=rng.integers(0, 256, (number, 3), dtype=np.uint8),
    )


def main() -> None:
    """Measure and print."""
    paths = [cell.path for cell in read_cells()]
    cells = [decode(path, name="it") for n, path in enumerate(paths) if n % 4 >= 2]
    windows = portrait_windows()
    of_cells, of_windows = (prints_of(images, stored) for images in (cells, windows))
    print(f"| change | {len(cells):,} solar cells | {len(windows)} windows of a portrait |")
    print("|---|---|---|")
    for name, damage in DAMAGES.items():
        shares = found(cells, damage, of_cells), found(windows, damage, of_windows)
        print(f"| {name} | {shares[0]} | {shares[1]} |", flush=True)
    print(f"| none: distinct, taken for duplicates | {false_share(of_cells)} |", end=" ")
    print(f"{false_share(of_windows)} |")
    every = join([looked_at(path) for path in paths])
    print(f"\nAll {len(paths):,} cells, taken for duplicates: {false_share(every)}")
    plain = seconds_each(paths[:500], lambda path: decode(path, name="it"))
    whole = seconds_each(paths[:500], looked_at)
    print(
        f"One cell, one core: {1e3 * plain:.2f} ms to decode, {1e3 * whole:.2f} ms with header and"
        f" fingerprint ({1 / whole:.0f} images/s)"
    )
    prints = drawn_prints(NUM_DRAWN)
    start, start_cpu = time.monotonic(), time.process_time()
    earlier_near_twins(prints, earlier_exact_twins(prints))
    print(
        f"All pairs of {NUM_DRAWN:,} drawn fingerprints: {time.monotonic() - start:.1f} s on"
        f" {available_cores()} cores, {time.process_time() - start_cpu:.1f} s of processor time"
    )


if __name__ == "__main__":
    main()
