"""Recipe and its parts: what a user may ask for, as frozen dataclasses with ranges.

Durations and spans stay text here ('5%', '3 epochs', '10 min') and become numbers in the plan.
Every field's comment is its help in the JSON schema.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from hftune.recipe.forms import (
    DurationText,
    EveryText,
    IntervalText,
    LengthText,
    PixelSide,
    Rate,
    RunName,
    ShareText,
    SizeText,
    SpanText,
    Text,
)


@dataclass(frozen=True, kw_only=True)
class Component:
    """A function by name, or by 'module:function' or './file.py:function', with its options.

    In a recipe: `adamw`, or `{name: adamw, betas: [0.9, 0.999]}`.
    """

    name: Text
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_code(self) -> bool:
        """Say whether the name means code outside hftune's tables."""
        return ":" in self.name


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """Which backbone, from where, and what is changed in it."""

    # Hub repository ("timm/resnet50.a1_in1k", "org/name@revision") or a local folder ("./folder").
    repo: Text | None = None
    # Commit, tag or branch of `repo`; also possible as "@revision" in `repo`.
    revision: Text | None = None
    # timm architecture name; needed only where `repo` is not given.
    architecture: Text | None = None
    # Local .safetensors (or, with allow_pickle, .pth) file to load in place of the repository's.
    weights: Text | None = None
    # Prefix to strip from the keys of the weight file, for instance "backbone.".
    strip_prefix: Text | None = None
    # Read pickled weights (tensors only); never from the Hub.
    allow_pickle: bool = False
    # false: same architecture, random start.
    pretrained: bool = True
    # by_name: classes that the base knows by name keep their rows of its head, and the others start
    # from the mean of its rows; new: the whole head starts anew.
    head_rows: Literal["by_name", "new"] = "by_name"
    # What the base calls a class, where the names differ: {kitty: "Persian cat"}.
    base_names: Mapping[str, Text] = field(default_factory=dict)
    # How a head starts that keeps no row: normal (sd 0.02), zero, or timm's own.
    head_init: Literal["normal", "zero", "timm"] = "normal"
    # Height and width in pixels, or one number for both; null: the model's own.
    image_size: PixelSide | tuple[PixelSide, PixelSide] | None = None
    # Share of the resized image that the central crop keeps; null: the model's own.
    crop_fraction: Annotated[float, Gt(0), Le(1)] | None = None
    # Input channels; null: the model's own.
    channels: Annotated[int, Ge(1)] | None = None
    # Dropout before the head.
    drop_rate: Annotated[float, Ge(0), Lt(1)] = 0.0
    # Stochastic depth.
    drop_path: Annotated[float, Ge(0), Lt(1)] = 0.0
    # Further constructor arguments of the timm architecture.
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MixRecipe:
    """Mixup and CutMix: two images of a micro-batch become one, and so do their targets."""

    # Alpha of the Beta distribution that mixup draws its shares from; 0: no mixup.
    mixup: Annotated[float, Ge(0)] = 0.0
    # Alpha of the Beta distribution that CutMix draws its areas from; 0: no CutMix.
    cutmix: Annotated[float, Ge(0)] = 0.0
    # Share of the micro-batches, pairs or images that are mixed.
    p: Annotated[float, Ge(0), Le(1)] = 1.0
    # Where both are on: how often CutMix is taken.
    cutmix_share: Annotated[float, Ge(0), Le(1)] = 0.5
    # One draw for a whole micro-batch, for each pair of its images, or for each image.
    draw: Literal["batch", "pair", "image"] = "batch"

    @property
    def is_on(self) -> bool:
        """Say whether anything is mixed."""
        return self.mixup > 0 or self.cutmix > 0


@dataclass(frozen=True, kw_only=True)
class AuditRecipe:
    """What is done about images that are in more than one split."""

    # Images of val or test that training has too: stop above `most`, only warn, or do not look.
    leaks: Literal["stop", "warn", "off"] = "stop"
    # Largest share of a split that training may have too before the run is stopped.
    most: ShareText = "5%"
    # Count near duplicates (resized, compressed again), besides the same pixels.
    near: bool = True


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Where the images and labels come from, how they are split and augmented."""

    # hub_dataset, image_folder or table, with options.
    source: Component
    # Share of the training split kept for validation where the source has no validation split.
    val: ShareText = "10%"
    # Share kept for testing where the source has no test split; 0% for none.
    test: ShareText = "0%"
    # Columns whose combinations every split holds in equal shares, besides the label.
    stratify: tuple[Text, ...] = ()
    # Seed of the splits, separate from the training seed.
    split_seed: Annotated[int, Ge(0)] = 0
    # Augmentations in order, each by name.
    augment: tuple[Component, ...] = ()
    # Mixup and CutMix, after the augmentations.
    mix: MixRecipe = MixRecipe()
    # How evenly classes are drawn: 0 as the data are, 1 each class equally often.
    balance: Annotated[float, Ge(0), Le(1)] = 0.0
    # Weights of the classes in the loss: inverse, effective or given; null: all count the same.
    class_weights: Component | None = None
    # An image that cannot be read: stop the run, skip it with a count, or list it as well.
    on_bad_image: Literal["stop", "skip", "quarantine"] = "stop"
    # Images that are in more than one split.
    audit: AuditRecipe = AuditRecipe()
    # A class without an image in one of the splits: stop the run, or go on with a warning.
    missing_classes: Literal["stop", "warn"] = "stop"
    # Loader processes per training process; null: chosen from the machine.
    workers: Annotated[int, Ge(0)] | None = None
    # Training images as JPEG: all of their pixels, or draft: large ones at 1/2, 1/4 or 1/8.
    decoder: Literal["exact", "draft"] = "exact"
    # Disk that decoded images may take, so that later epochs and runs decode nothing.
    decoded_cache: SizeText = "10 GiB"


@dataclass(frozen=True, kw_only=True)
class L2SPRecipe:
    """L2-SP: decay towards the pretrained point in place of zero (Li et al. 2018)."""

    # Pull of pretrained weights towards where they started; 0: none.
    strength: Annotated[float, Ge(0)] = 0.0
    # Pull of new weights, such as the head's, towards zero; used where `strength` is not 0.
    new_strength: Annotated[float, Ge(0)] = 0.01


@dataclass(frozen=True, kw_only=True)
class SWARecipe:
    """Stochastic weight averaging: the plain mean of weights late in the run (Izmailov 2018)."""

    # From where on weights are taken into the mean; null: no averaging.
    start: SpanText | None = None
    # Steps, epochs or a share of the run between the weights that are taken.
    every: EveryText = "1 epoch"


@dataclass(frozen=True, kw_only=True)
class OptimRecipe:
    """The optimizer, its rates, the schedule, clipping and averaging."""

    # Peak learning rate for the global batch.
    lr: Annotated[float, Gt(0)] = 1e-3
    # Global batch that `lr` and the numbers in `rates` are stated for; null: whatever it is.
    lr_batch_size: Annotated[int, Ge(1)] | None = None
    # How rates follow the global batch from `lr_batch_size`: in proportion, or by its root.
    lr_scaling: Literal["linear", "sqrt"] = "linear"
    # Decoupled where the optimizer decouples it; never on norms and biases.
    weight_decay: Annotated[float, Ge(0)] = 0.05
    # Factor per depth from the head down (1 or null: none).
    layer_decay: Annotated[float, Gt(0), Le(1)] | None = None
    # Rates by selector: a number is absolute, "3x" a multiple of lr, 0 a freeze.
    rates: Mapping[str, Rate] = field(default_factory=dict)
    # Optimizer.
    method: Component = Component(name="adamw")
    # Shape of the rate over the run, with `warmup` for any of them.
    schedule: Component = Component(name="cosine", options={"warmup": "5%"})
    # Largest norm of the whole gradient; null: no clipping.
    clip_norm: Annotated[float, Gt(0)] | None = None
    # Decay towards the pretrained point, in place of weight_decay.
    l2_sp: L2SPRecipe = L2SPRecipe()
    # Decay per step of the averaged weights; null: no averaging.
    ema: Annotated[float, Gt(0), Lt(1)] | None = None
    # The plain mean of weights late in the run, judged at its end.
    swa: SWARecipe = SWARecipe()


@dataclass(frozen=True, kw_only=True)
class FreezeRecipe:
    """What never trains, and what frozen layers do."""

    # The first stages of the backbone that never train, the stem among them; 0: none.
    stages: Annotated[int, Ge(0)] = 0
    # Selectors of what never trains: backbone, stages[:2], norm, name:PATTERN.
    layers: tuple[Text, ...] = ()
    # Batch norm of frozen layers: train (statistics move), statistics (fixed), all (all fixed).
    batch_norm: Literal["train", "statistics", "all"] = "statistics"


@dataclass(frozen=True, kw_only=True)
class UnfreezeStep:
    """From `at` on, exactly the selected parameters train."""

    # Share of the run, steps or epochs.
    at: SpanText = "0%"
    # Selectors: head, backbone, stage.-1, layer.3, norm, name:PATTERN, all.
    train: Annotated[tuple[Text, ...], MinLen(1)]
    # Factor on every rate while this phase lasts.
    lr_factor: Annotated[float, Gt(0)] = 1.0
    # Linear rise of the rates at the start of this phase.
    warmup: SpanText = "0%"


@dataclass(frozen=True, kw_only=True)
class DistillRecipe:
    """A trained classifier whose answers the model learns as well (Hinton et al. 2015)."""

    # Run folder, artifact folder or repository with the same classes; null: no teacher.
    teacher: Text | None = None
    # Share of the loss that compares with the teacher; the rest compares with the labels.
    weight: Annotated[float, Gt(0), Le(1)] = 0.5
    # Both sides' logits are divided by this; more shows more of what the teacher confuses.
    temperature: Annotated[float, Gt(0)] = 2.0


@dataclass(frozen=True, kw_only=True)
class CacheRecipe:
    """What frozen layers give, computed once and kept in place of running them every epoch."""

    # auto: where it changes no result, or `views` is set, and saves time; on: wherever possible.
    features: Literal["auto", "on", "off"] = "auto"
    # Augmented versions kept of each image, one per epoch; null: none of images that are augmented.
    views: Annotated[int, Ge(1)] | None = None
    # As computed in the precision of the run, or rounded to bf16, half of fp32's size.
    dtype: Literal["run", "bf16"] = "run"
    # Memory that they may take, per process; what goes beyond is on disk.
    memory: SizeText = "4 GiB"
    # Disk that they may take; what would need more is computed every epoch.
    disk: SizeText = "20 GiB"


@dataclass(frozen=True, kw_only=True)
class TrainRecipe:
    """How long, in which batches and in which precision."""

    # Epochs or steps.
    length: LengthText = "10 epochs"
    # Images per optimizer step, over all processes.
    batch_size: Annotated[int, Ge(1)] = 32
    # Images per forward pass and process; auto: the most that fit; null: batch_size / processes.
    micro_batch_size: Annotated[int, Ge(1)] | Literal["auto"] | None = None
    # auto takes the best that the device does well.
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    # Memory layout that convolutions like best; auto: where the model has convolutions that gain.
    channels_last: Literal["auto"] | bool = "auto"
    # torch.compile; auto: where the run is long enough to pay for it, measured as it begins.
    compile: Literal["auto", "on", "off"] = "auto"
    # What frozen layers give, computed once.
    cache: CacheRecipe = CacheRecipe()
    # Seed of order, augmentation, dropout and the new head.
    seed: Annotated[int, Ge(0)] = 0
    # Keep a checkpoint and end with code 75 before this time has passed; null: no limit.
    time_budget: DurationText | None = None


@dataclass(frozen=True, kw_only=True)
class EvalRecipe:
    """When and by what the model is judged."""

    # Steps, epochs or a share of the run between evaluations.
    every: EveryText = "1 epoch"
    # Metric that picks the best weights; null: the problem's own.
    best: Text | None = None
    # Metrics to compute; empty: the problem's own.
    metrics: tuple[Text, ...] = ()
    # Images per forward pass and process; null: as in training, twice that on a GPU.
    batch_size: Annotated[int, Ge(1)] | None = None
    # End early after this many evaluations without a gain; null: never.
    patience: Annotated[int, Ge(1)] | None = None


@dataclass(frozen=True, kw_only=True)
class SaveRecipe:
    """Checkpoints to resume from."""

    # Wall-clock duration, steps or epochs.
    every: IntervalText = "10 min"
    # How many to keep.
    keep: Annotated[int, Ge(1)] = 2
    # Send checkpoints to the Hub, at most this often, to go on elsewhere; null: never.
    push_every: IntervalText | None = None
    # Branch of hub.push_to that holds them.
    push_branch: Text = "checkpoints"


@dataclass(frozen=True, kw_only=True)
class TrackRecipe:
    """Where numbers go while training; metrics.jsonl is always written."""

    # Steps or epochs between lines.
    every: LengthText = "10 steps"
    # tensorboard, trackio, wandb, mlflow ...: any tracker that Accelerate knows.
    trackers: tuple[Text, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HubRecipe:
    """Where the result is published."""

    # Repository; null: not pushed by `train`.
    push_to: Text | None = None
    # Only for a repository that this push creates.
    private: bool = True
    # Branch to push to.
    revision: Text = "main"
    # Licence of the result; null: carried from the base.
    license: Text | None = None
    # What a licence without an id, `other`, is called; null: as the base's card calls it.
    license_name: Text | None = None
    # File with the text of the licence, published as LICENSE; null: the base's own, where `other`.
    license_file: Text | None = None
    # Example images in the repository: where the data's licence allows it, always or never.
    share_images: Literal["licensed", "always", "never"] = "licensed"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the result of a run."""

    # The run's name; also its folder under runs/.
    run: RunName
    # Which backbone, from where, and what is changed in it.
    model: ModelRecipe
    # Where images and labels come from, how they are split and augmented.
    data: DataRecipe
    # single_label, multi_label or regression.
    problem: Literal["single_label", "multi_label", "regression"] = "single_label"
    # What is made small; null: the problem's own.
    loss: Component | None = None
    # A trained classifier whose answers the model learns as well.
    distill: DistillRecipe = DistillRecipe()
    # The optimizer, its rates, the schedule, clipping and averaging.
    optim: OptimRecipe = OptimRecipe()
    # What never trains, and what frozen layers do.
    freeze: FreezeRecipe = FreezeRecipe()
    # Which layers train from when on, in order, the first at 0%.
    unfreeze: tuple[UnfreezeStep, ...] = (UnfreezeStep(at="0%", train=("all",)),)
    # How long, in which batches and in which precision.
    train: TrainRecipe = TrainRecipe()
    # When and by what the model is judged.
    eval: EvalRecipe = EvalRecipe()
    # Checkpoints to resume from.
    save: SaveRecipe = SaveRecipe()
    # Where numbers go while training.
    track: TrackRecipe = TrackRecipe()
    # Where the result is published.
    hub: HubRecipe = HubRecipe()
