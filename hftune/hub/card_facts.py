"""What a model card is written from: plain facts, gathered by whoever publishes a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hftune.core import (
    BaseFacts,
    DataFacts,
    EvalResult,
    InputSpec,
    LabelSpace,
    OldClasses,
    ProblemName,
    TeacherFacts,
)


@dataclass(frozen=True, kw_only=True)
class WidgetSample:
    """An example image in the repository and what the model says about it.

    `path` is relative to the repository's root; `scores` maps label to probability, highest first.
    """

    path: str
    title: str
    scores: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class LicenseFacts:
    """The licence of the result: a Hub identifier, or `other` with a name and a link.

    `id` is carried from the base or set by the user; None means nobody stated one. `notes` say
    what those of base and data ask for that this one does not say.
    """

    id: str | None
    name: str | None = None
    link: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FrozenPart:
    """What of one part of the model ('stage.0', 'head') stood still, of all that it holds."""

    name: str
    tensors: int
    of_tensors: int
    parameters: int
    of_parameters: int


@dataclass(frozen=True, kw_only=True)
class FrozenFacts:
    """What no phase trained. `parts` are all parts of the model, from input to head.

    `base` and `commit` name the repository whose values the frozen tensors have; None where they
    have no such origin. `others` are frozen tensors whose values are not the base's own, and are
    counted in no part; `num_moving` counts statistics of frozen layers that moved. `model_args`
    are the constructor options that the base is rebuilt with.
    """

    parts: tuple[FrozenPart, ...]
    base: str | None
    commit: str | None
    others: tuple[str, ...] = ()
    num_moving: int = 0
    model_args: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """Everything the card says. Mappings are shown in their own order.

    `repo_id` is None while no target is known: the examples then name the folder; `revision` is the
    branch there. `counts` maps a
    split's name to its number of images. `results` holds one evaluation per split, of the weights
    that are published. `intervals` maps (split, metric) to a 95% interval of the bootstrap; where a
    metric is a share of right answers and none is given, as when all are right or the predictions
    were not kept, the Wilson score interval is used. `training` maps a
    short row name ("Optimizer") to its text ("adamw, rate 1e-3"). `versions` maps a package to its
    version. `picture` (of what is taken for what), `curves` and `calibration_picture` are paths in
    the repository; `calibration` says how far scores can be believed. `tags` come after those of
    every card. `frozen` is None where everything trained. `old_classes` say what became of the
    classes that the base told apart, where all of them are here. `teacher` is None where only the
    labels taught it.
    """

    run: str
    repo_id: str | None
    problem: ProblemName
    labels: LabelSpace
    input_spec: InputSpec
    base: BaseFacts
    data: DataFacts
    license: LicenseFacts
    counts: Mapping[str, int]
    results: tuple[EvalResult, ...]
    training: Mapping[str, str]
    versions: Mapping[str, str]
    label_descriptions: Mapping[str, str] = field(default_factory=dict)
    intervals: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    samples: tuple[WidgetSample, ...] = ()
    picture: str | None = None
    curves: str | None = None
    calibration: str | None = None
    calibration_picture: str | None = None
    tags: tuple[str, ...] = ()
    frozen: FrozenFacts | None = None
    old_classes: tuple[OldClasses, ...] = ()
    teacher: TeacherFacts | None = None
    limits: tuple[str, ...] = ()
    summary: str | None = None
    revision: str = "main"

    @property
    def place(self) -> str:
        """Where the model is, as hftune and timm name it: with its branch, unless that is main."""
        if self.repo_id is None:
            return "THIS_FOLDER"
        return self.repo_id if self.revision == "main" else f"{self.repo_id}@{self.revision}"
