"""A photograph, small drawn images in folders, and error texts kept as files."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from hftune.core import InputSpec, LabelSpace, Split
from hftune.errors import HftuneError

ERRORS = Path(__file__).parent.parent / "errors" / "data"
# A portrait that ships with matplotlib: 512 x 600, RGB, public domain.
PHOTO = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def check_text(error: HftuneError, name: str) -> None:
    """Compare an error's full text with the file kept for it."""
    assert f"{error}\n" == (ERRORS / f"{name}.txt").read_text(encoding="utf-8")


def draw(seed: int, *, size: tuple[int, int] = (20, 30)) -> Image.Image:
    """A noisy RGB image of `size` (width, height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, size=(size[1], size[0], 3))
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    with Image.open(PHOTO) as image:
        return image.convert("RGB")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give every test a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HFTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def make_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Mapping[str, int]], Path]:
    """Give a maker of `images/` in the working directory: {"train/cat": 5} draws five cats."""
    monkeypatch.chdir(tmp_path)

    def make(counts: Mapping[str, int]) -> Path:
        for number, (folder, count) in enumerate(sorted(counts.items())):
            place = tmp_path / "images" / folder
            place.mkdir(parents=True)
            for image in range(count):
                draw(1000 * number + image).save(place / f"{image:03}.png")
        return Path("images")

    return make


class DrawnRows:
    """Noise of odd sizes in memory."""

    def __init__(self, number: int) -> None:
        self.images = [draw(seed, size=(37 + seed % 5, 41)) for seed in range(number)]
        self.targets = (np.arange(number) % 3).astype(np.int64)

    def __len__(self) -> int:
        return len(self.images)

    def image(self, row: int) -> Image.Image:
        return self.images[row]

    def key(self, row: int) -> str:
        return f"drawn {row}"


def drawn_split(number: int) -> Split:
    labels = LabelSpace(names=("a", "b", "c"))
    return Split(name="train", rows=DrawnRows(number), labels=labels, digest="drawn")


def small_spec(**changes: object) -> InputSpec:
    """A model that wants 24 x 32 pixels."""
    settings: dict[str, object] = {
        "channels": 3,
        "height": 24,
        "width": 32,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "interpolation": "bicubic",
        "crop_fraction": 0.875,
    }
    return InputSpec(**{**settings, **changes})  # type: ignore[arg-type]
