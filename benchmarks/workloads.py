"""What is measured: each workload's task, its peers, its figure and hftune's bars."""

from dataclasses import dataclass
from typing import Literal

from benchmarks.prepare import LITE0, Images

HFTUNE = "hftune"
LIMIT = "limit"
FigureName = Literal[
    "images_per_second",
    "whole_seconds",
    "training_seconds",
    "reached_seconds",
    "judging_images_per_second",
    "first_step_seconds",
]
# Figures of which more is better; of the others less is.
RATES = ("images_per_second", "judging_images_per_second", "accuracy")


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One trainer: its script in benchmarks/peers, and in how many processes it runs."""

    script: str
    title: str
    processes: int = 1
    needs_launcher: bool = False


PEERS = {
    HFTUNE: Peer(script="with_hftune", title="**hftune**"),
    "plain": Peer(script="plain", title="plain tutorial loop"),
    "accelerate": Peer(script="with_accelerate", title="Accelerate's loop"),
    "trainer": Peer(script="with_trainer", title="transformers Trainer"),
    "fastai": Peer(script="with_fastai", title="fastai"),
    "timm": Peer(script="with_timm", title="timm train.py"),
    LIMIT: Peer(script="limit", title="limit: tensors in memory"),
    "hftune-2": Peer(script="with_hftune", title="**hftune**, two processes", processes=2),
    "accelerate-2": Peer(
        script="with_accelerate",
        title="Accelerate's loop, two processes",
        processes=2,
        needs_launcher=True,
    ),
}
ALONE = ("plain", "accelerate", "trainer", "fastai", "timm", HFTUNE, LIMIT)
JUDGING = ("plain", "accelerate", "trainer", "fastai", HFTUNE, LIMIT)
# Where each peer takes minutes: W1 shows where the others stand.
LONG = ("plain", "trainer", HFTUNE, LIMIT)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A ratio that hftune is to reach: `least` times better than `against`.

    `against` is a peer, or 'best' for the one that is best in the figure; the accuracy is compared
    with the fastest one's. `figure` is None for the workload's own.
    """

    least: float
    against: str = "best"
    figure: Literal["peak_mib", "accuracy"] | None = None


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One table. `words` go to every peer's script, `settings` to hftune's alone.

    A run ends at its end, at its first step, or once it was judged to reach the accuracy `until`.
    Where `is_warm`, a run that does not count comes first, and what it left in caches is kept. With
    `own_allocators` the peers run with the allocator that they come with.
    """

    title: str
    images: Images
    figure: FigureName
    words: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    peers: tuple[str, ...] = ALONE
    epochs: int = 1
    batch_size: int = 32
    repeats: int = 3
    architecture: str = LITE0
    until: float | None = None
    ends_at_first_step: bool = False
    is_warm: bool = False
    own_allocators: bool = False
    bars: tuple[Bar, ...] = ()
    needs_gpu: bool = False


def gpu_workload(architecture: str, *bars: Bar) -> Workload:
    """Give a full fine-tune from JPEG files of a photograph's size, on one GPU."""
    return Workload(
        title=f"full fine-tune of {architecture}, JPEG files, 224 px, three epochs on one GPU",
        images=Images(kind="jpeg", val=64),
        figure="images_per_second",
        words=("--augment", "--lr", "3e-4"),
        peers=("trainer", "timm", HFTUNE, LIMIT),
        epochs=3,
        batch_size=128,
        architecture=architecture,
        bars=bars,
        needs_gpu=True,
    )


WORKLOADS = {
    "W1": Workload(
        title="full fine-tune, one epoch",
        images=Images(kind="sure", train=256, val=128),
        figure="images_per_second",
        words=("--augment",),
        bars=(
            Bar(least=2.2),
            Bar(least=0.93, against=LIMIT),
            Bar(least=1.0, figure="peak_mib"),
        ),
        repeats=2,
    ),
    "W1D": Workload(
        title="full fine-tune, one epoch, each peer with the allocator it comes with",
        images=Images(kind="sure", train=256, val=128),
        figure="images_per_second",
        words=("--augment",),
        peers=("plain", "trainer", HFTUNE),
        repeats=1,
        own_allocators=True,
    ),
    "W2": Workload(
        title="head only, ten epochs over 1,000 images, no augmentation",
        images=Images(kind="sure", train=1000, val=256),
        figure="whole_seconds",
        words=("--trains", "head", "--lr", "2e-3"),
        peers=LONG,
        epochs=10,
        repeats=1,
        bars=(Bar(least=18.0), Bar(least=1.0, figure="accuracy")),
    ),
    "W2V": Workload(
        title="head only, ten epochs, with augmentation; hftune keeps four views of each image",
        images=Images(kind="sure", train=128, val=128),
        figure="whole_seconds",
        words=("--trains", "head", "--lr", "2e-3", "--augment"),
        settings=('train.cache={"views": 4}',),
        peers=LONG,
        epochs=10,
        repeats=1,
    ),
    "W3": Workload(
        title="first half frozen, five epochs, no augmentation",
        images=Images(kind="sure", train=192, val=128),
        figure="training_seconds",
        words=("--trains", "second-half"),
        peers=LONG,
        epochs=5,
        repeats=1,
        bars=(Bar(least=2.5),),
    ),
    "W4": Workload(
        title="ELPV as published, until 86 % of the test images are right; judged every epoch",
        images=Images(kind="elpv"),
        figure="reached_seconds",
        words=("--augment", "--min-scale", "0.6", "--judge-every-epoch", "--lr", "3e-4"),
        peers=(HFTUNE, "plain", "trainer", "timm"),
        epochs=6,
        repeats=1,
        until=0.86,
        bars=(Bar(least=2.0),),
    ),
    "W5": Workload(
        title="evaluation, from image files, second pass",
        images=Images(kind="sure", train=32, val=256),
        figure="judging_images_per_second",
        words=("--mode", "evaluate"),
        peers=JUDGING,
        bars=(Bar(least=1.5),),
    ),
    "W6": Workload(
        title="start of the command to the end of the first step, model and data on this disk",
        images=Images(kind="sure"),
        figure="first_step_seconds",
        words=("--augment",),
        peers=("plain", "accelerate", "trainer", "fastai", "timm", HFTUNE),
        ends_at_first_step=True,
        is_warm=True,
        bars=(Bar(least=1.0, against="plain"),),
    ),
    "W8": Workload(
        title="one process and two, the same global batch",
        images=Images(kind="sure", train=256, val=64),
        figure="images_per_second",
        words=("--augment",),
        peers=("accelerate", "accelerate-2", HFTUNE, "hftune-2"),
        repeats=1,
    ),
    "G1": gpu_workload(
        "resnet50",
        Bar(least=0.9, against=LIMIT),
        Bar(least=1.3, against="timm"),
        Bar(least=1.3, against="trainer"),
    ),
    "G2": gpu_workload("resnet18", Bar(least=0.9, against=LIMIT)),
    "G3": gpu_workload("efficientnet_b0", Bar(least=0.9, against=LIMIT)),
}
