"""The nouns that cross floors: dataclasses with no behaviour beyond small properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image
    from torch import Tensor, nn

    from hftune.recipe.schema import Recipe

RepoKind = Literal["model", "dataset", "space"]
ProblemName = Literal["single_label", "multi_label", "regression"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class RepoRef:
    """A repository or a local folder. `commit` is 40 hex digits, known after a pull or a push."""

    kind: RepoKind = "model"
    repo_id: str | None = None
    revision: str | None = None
    commit: str | None = None
    folder: Path | None = None


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What a model wants to see: size in pixels, mean and std per channel for values in 0..1."""

    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_fraction: float
    crop_mode: str = "center"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How numbers lie, in their own unit; `sd` is their standard deviation."""

    minimum: float
    mean: float
    maximum: float
    sd: float


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """The classes in training order. `counts` are training examples per class.

    `num_examples` is how many training examples there are, 0 where that is not known. With
    `numeric` there is no class but a number: its name alone, and in `spread` what the training
    targets are like, where that is known.
    """

    names: tuple[str, ...]
    multi: bool = False
    counts: tuple[int, ...] = ()
    numeric: bool = False
    spread: Spread | None = None
    num_examples: int = 0

    @property
    def problem(self) -> ProblemName:
        """The problem that has such labels."""
        if self.numeric:
            return "regression"
        return "multi_label" if self.multi else "single_label"

    @property
    def size(self) -> int:
        """The number of classes, which is the number of outputs."""
        return len(self.names)

    @property
    def index(self) -> dict[str, int]:
        """The position of each name."""
        return {name: position for position, name in enumerate(self.names)}


class Rows(Protocol):
    """A map-style data set of decoded images and encoded targets."""

    def __len__(self) -> int:
        """The number of examples."""

    def image(self, row: int) -> Image:
        """Decode one image: upright, mode RGB, L or whatever the input spec's channels need."""

    def key(self, row: int) -> str:
        """Name one example for a message: a path, or repository and row."""

    @property
    def targets(self) -> np.ndarray:
        """int64 [N] class positions; float32 [N, K] zeros and ones with several labels; float32
        [N, 1] numbers in their own unit.
        """


@dataclass(frozen=True, kw_only=True)
class Split:
    """One part of the data. `digest` changes when an example, its order or a target does."""

    name: str
    rows: Rows
    labels: LabelSpace
    digest: str

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.rows)


@dataclass(frozen=True, kw_only=True)
class LeakFacts:
    """How many of a split's images training has too: with the same pixels, or nearly the same."""

    split: str
    images: int
    exact: int
    near: int = 0

    @property
    def share(self) -> float:
        """The share of the split, 0..1, that training has too."""
        return (self.exact + self.near) / max(1, self.images)


@dataclass(frozen=True, kw_only=True)
class AuditFacts:
    """What was found when images were compared with the training images.

    `near` says whether near duplicates were looked for. Of the `images` that training has,
    `repeated` have the pixels of an earlier one, and `conflicting` of these another label.
    """

    near: bool
    images: int
    repeated: int
    conflicting: int
    leaks: tuple[LeakFacts, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """Where data came from, for the card: all None or empty for plain local files.

    `audit` is None where nothing was compared.
    """

    repo_id: str | None = None
    commit: str | None = None
    config: str | None = None
    license: str | None = None
    path: str | None = None
    split_rule: str = ""
    audit: AuditFacts | None = None


@dataclass(frozen=True, kw_only=True)
class BadImage:
    """An image of a split that cannot be read: its row there, its name, and why."""

    split: str
    row: int
    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Splits:
    """All parts of one data set under one label space. `test` may be absent.

    `left_out` are the images that could not be read when the splits were made; their `split` is
    the source's part, and their `row` counts in it.
    """

    train: Split
    val: Split
    test: Split | None
    labels: LabelSpace
    facts: DataFacts
    left_out: tuple[BadImage, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Examples that go through the model together.

    `inputs` pixels uint8 [B, C, H, W], normalised on the device, or features float [B, ...];
    `targets` int64 [B] or float [B, K]; `rows` int64 [B], positions in the split of the images that
    are in `inputs`; `weights` float [B] or None; `drawn` float64 [B, N], what each image drew for
    the augmentations that are still to come, or None. `bad` are the images that were wanted here
    and could not be read, an entry for each place in the batch.
    """

    inputs: Tensor
    targets: Tensor
    rows: Tensor
    weights: Tensor | None = None
    drawn: Tensor | None = None
    bad: tuple[BadImage, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LayerMap:
    """Where each parameter and buffer lives, by its dotted name in the module.

    `depth` rises from 0 at the input to `num_depths - 1` at the head; `stage` is the coarse group,
    0 at the stem; `role` is one of head, norm, bias, embed, body. `head` names the classifier
    modules (several for distilled models).
    """

    depth: Mapping[str, int]
    stage: Mapping[str, int]
    role: Mapping[str, str]
    num_depths: int
    num_stages: int
    head: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class HeadStart:
    """Which classes of a head started from rows of the base's head.

    `kept` maps a class to the base's name for it, in the order of the classes; all others started
    from the mean of the base's rows, of which there were `num_base`.
    """

    kept: Mapping[str, str]
    num_base: int

    @property
    def num_found(self) -> int:
        """How many of the base's classes are classes still."""
        return len(set(self.kept.values()))


@dataclass(frozen=True, kw_only=True)
class OldClass:
    """One class of the base: how well it was told `before` the first step and `after` the last.

    With one label per image both are recall, the share of its `images` that are taken for it;
    `to_new` is the share that is now taken for a class that the base did not have. With several
    labels both are F1 at one half, and `to_new` is 0.
    """

    images: int
    before: float
    after: float
    to_new: float = 0.0


@dataclass(frozen=True, kw_only=True)
class OldClasses:
    """The classes of the base in one split, by their names of today.

    `before` and `after` are the share of right answers over all their images together, with several
    labels the mean of F1. `num_new` counts the classes that came in. A class without images is not
    listed.
    """

    split: str
    before: float
    after: float
    num_new: int
    classes: Mapping[str, OldClass]


@dataclass(frozen=True, kw_only=True)
class WeightsReport:
    """What became of every tensor when weights were loaded: names by fate.

    `reset` are those that do not start with the base's values alone. `head` is None where the head
    took over nothing of the base's.
    """

    matched: tuple[str, ...] = ()
    reset: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    head: HeadStart | None = None


@dataclass(frozen=True, kw_only=True)
class BaseFacts:
    """The pretrained model that a run starts from; what timm strips on save is kept here.

    Name, link and text of its licence are kept where the id is `other`, which says nothing.
    """

    architecture: str
    repo_id: str | None = None
    hub_id: str | None = None
    commit: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    license_text: str | None = None
    pretrained: bool = True
    pretrained_cfg: Mapping[str, object] = field(default_factory=dict)
    model_args: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TeacherFacts:
    """The classifier that a run learns from: its repository and commit, or what is on disk.

    `digest` is that of all tensors of one on disk, which may have been trained further.
    """

    repo_id: str | None = None
    commit: str | None = None
    digest: str | None = None

    @property
    def words(self) -> str:
        """Name it in Markdown, with the first digits of what tells it from others."""
        if self.commit is not None:
            return f"`{self.repo_id}` at commit `{self.commit[:12]}`"
        return f"a local model, tensors with digest `{(self.digest or '')[:12]}`"


@dataclass(frozen=True, kw_only=True)
class Model:
    """A module ready to train (on the CPU, fp32), with what it wants to see and how it is built."""

    module: nn.Module
    input_spec: InputSpec
    layers: LayerMap
    weights: WeightsReport
    base: BaseFacts


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Steps `start` to `stop` (exclusive), in which exactly `trainable` parameters move.

    All rates are multiplied by `lr_factor`, and rise linearly over the first `warmup_steps`.
    """

    start: int
    stop: int
    trainable: frozenset[str]
    label: str
    frozen_prefix: int | None = None
    lr_factor: float = 1.0
    warmup_steps: int = 0


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """Every number of a run, settled before the first batch. Intervals are in steps.

    `peak_lr` is the recipe's rate, scaled to the global batch. `save_seconds` is the time between
    timed checkpoints. `swa_start` and `swa_every` are None without weight averaging. `compiled`
    says whether steps run by compiled code. `digest` leaves out the machine.
    """

    recipe: Recipe
    total_steps: int
    steps_per_epoch: int
    batch_size: int
    micro_batch_size: int
    accumulation: int
    world_size: int
    precision: Precision
    peak_lr: float
    phases: tuple[Phase, ...]
    log_every: int
    eval_every: int
    save_seconds: float | None
    save_every: int | None
    seed: int
    digest: str
    swa_start: int | None = None
    swa_every: int | None = None
    compiled: bool = False


@dataclass(kw_only=True)
class Progress:
    """How far a run is; written as JSON with every checkpoint. `seconds` is time spent training.

    The plateau schedule keeps its memory here: `plateau_factor` multiplies every rate,
    `plateau_best` is the best value so far, `plateau_waits` counts evaluations without a gain, and
    `plateau_rests` those that do not count after a reduction.
    `averaged_at` is the step at whose end the averaged weights were judged.
    """

    step: int = 0
    phase: int = 0
    samples: int = 0
    skipped_steps: int = 0
    best_value: float | None = None
    best_step: int | None = None
    evaluations_without_gain: int = 0
    seconds: float = 0.0
    owes_evaluation: bool = False
    ended_early: bool = False
    plateau_factor: float = 1.0
    plateau_best: float | None = None
    plateau_waits: int = 0
    plateau_rests: int = 0
    averaged_at: int | None = None

    def to_json(self) -> dict[str, object]:
        """Give the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """Metrics over one split. `per_class` maps a class name to its metrics and count.

    `num_examples` were judged; `num_bad` more could not be read and count nowhere.
    `confusion` [K][K] counts examples by (true, predicted) class; empty with several labels.
    """

    split: str
    step: int
    loss: float
    values: Mapping[str, float]
    per_class: Mapping[str, Mapping[str, float]]
    num_examples: int
    confusion: Sequence[Sequence[int]] = ()
    num_bad: int = 0


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """The folder that is published, and the files in it. `digest` covers every byte of them."""

    folder: Path
    weights: Path
    config: Path
    card: Path
    recipe: Path
    results: Path
    digest: str
