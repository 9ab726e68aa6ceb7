"""A trained classifier that a run learns from: loaded, fitted to the run's classes and inputs."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from hftune.core import InputSpec, LabelSpace, TeacherFacts
from hftune.errors import PlanError
from hftune.files import digest_json, user_path
from hftune.hub.pull import pull
from hftune.hub.ref import parse_ref
from hftune.model.published import Classifier, load_classifier
from hftune.train.receipt import hash_tensors
from hftune.train.run_facts import MODEL_FILE
from hftune.train.trained import load_run

_SHOWN = 8


class Teacher(nn.Module):
    """A frozen classifier that takes the student's inputs and answers in the student's classes.

    Stays in evaluation mode whatever is asked of the modules around it.
    """

    factor: Tensor
    shift: Tensor
    order: Tensor

    def __init__(self, classifier: Classifier, spec: InputSpec, labels: LabelSpace) -> None:
        super().__init__()
        check_teacher(classifier, spec, labels)
        own = classifier.input_spec
        self.module = classifier.module.eval().requires_grad_(False)
        self.size = (own.height, own.width)
        self.is_same_size = self.size == (spec.height, spec.width)
        # From the student's normalised values to the teacher's: one factor, one shift.
        mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
        own_mean, own_std = torch.tensor(own.mean), torch.tensor(own.std)
        factor, shift = std / own_std, (mean - own_mean) / own_std
        self.is_same_scale = bool((factor == 1).all() and (shift == 0).all())
        self.register_buffer("factor", factor.view(1, -1, 1, 1))
        self.register_buffer("shift", shift.view(1, -1, 1, 1))
        index = classifier.labels.index
        order = torch.tensor([index[name] for name in labels.names])
        self.register_buffer("order", order)

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """Give the logits [B, K], in the student's order, of the student's inputs [B, C, H, W]."""
        if not self.is_same_size:
            inputs = functional.interpolate(
                inputs, size=self.size, mode="bilinear", antialias=True, align_corners=False
            )
        if not self.is_same_scale:
            inputs = inputs * self.factor + self.shift
        logits: Tensor = self.module(inputs)
        return logits.index_select(1, self.order)

    def train(self, mode: bool = True) -> "Teacher":  # noqa: ARG002  # the signature is torch's
        """Stay in evaluation mode."""
        return super().train(False)


def load_teacher(name: str) -> tuple[Classifier, TeacherFacts]:
    """Load a run folder, an artifact folder or a repository as a classifier on the CPU.

    Raises RefError, HubError, ModelError, WeightsError and RunFolderError.
    """
    folder = user_path(name)
    if (folder / MODEL_FILE).is_file():
        classifier = load_run(folder)
        return classifier, TeacherFacts(digest=_digest(classifier))
    source = pull(parse_ref(name))
    classifier = load_classifier(source)
    if source.commit is not None:
        return classifier, TeacherFacts(repo_id=source.repo_id, commit=source.commit)
    return classifier, TeacherFacts(digest=_digest(classifier))


def _digest(classifier: Classifier) -> str:
    state = classifier.module.state_dict()
    return digest_json(hash_tensors(state, state))


def check_teacher(classifier: Classifier, spec: InputSpec, labels: LabelSpace) -> None:
    """Raise PlanError where a classifier cannot teach a student of these classes and channels."""
    known, wanted = set(classifier.labels.names), set(labels.names)
    if known != wanted or classifier.labels.multi != labels.multi:
        lacking = sorted(wanted - known)[:_SHOWN]
        found = f"not known to it: {', '.join(lacking)}" if lacking else "other classes as well"
        if known == wanted:
            found = "one of the two tells one class per image, the other any number"
        raise PlanError(
            "this teacher tells other classes apart than the data has",
            found=found,
            allowed=f"a model of the classes {', '.join(labels.names[:_SHOWN])}",
            where="distill.teacher",
            remedy="fine-tune the teacher on the same classes first, then name its run folder",
        )
    if classifier.input_spec.channels != spec.channels:
        raise PlanError(
            "this teacher takes images of other channels",
            found=f"{classifier.input_spec.channels} channels",
            allowed=f"{spec.channels}, as the model that is trained",
            where="distill.teacher",
        )
