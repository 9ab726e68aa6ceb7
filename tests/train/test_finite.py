"""Values that are not finite, planted in a known place, are found there and change nothing."""

import copy
import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hftune.core import Model
from hftune.errors import NotFiniteError
from hftune.recipe.schema import Component, EvalRecipe, OptimRecipe, SaveRecipe, TrainRecipe
from hftune.train.checkpoint import Memory
from hftune.train.finite import check_weights, explain_bad_step
from hftune.train.guides import Guides
from hftune.train.loop import train
from hftune.train.plan import make_plan
from hftune.train.session import Session, open_session
from hftune.train.step import BadStep, train_step
from hftune.train.world import join_world, make_accelerator
from tests.drawn import drawn_splits, tiny_model, tiny_recipe

TRAIN = TrainRecipe(length="3 epochs", batch_size=8, micro_batch_size=4, precision="fp32")


class Times(nn.Module):
    """Multiplies by `factor`."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


class SteepIdentity(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


class Steep(nn.Module):
    """Gives what it is given, and a gradient that is `factor` times as large."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return SteepIdentity.apply(x, self.factor)


class RootOfNothing(nn.Module):
    """Adds sqrt(0), whose slope is infinite."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.sqrt(x - x.detach())


class RootOfWeight(nn.Module):
    """Adds the root of a weight that is zero: only the weight's gradient is infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.sqrt(self.weight)


class Squared(nn.Module):
    """Overflows in a function of its own, between two layers that are fine."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Identity(), nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.other((self.one(x) * 1e30) ** 2 * torch.sign(x))


def opened(model: Model, **recipe: object) -> Session:
    splits = drawn_splits()
    plan = make_plan(tiny_recipe(**{"train": TRAIN} | recipe), model, splits, join_world())
    return open_session(
        make_accelerator("fp32"), model, plan.phases[0], plan=plan, split=splits.train,
        memory=Memory(), guides=Guides(),
    )  # fmt: skip


def model_with(place: str, module: nn.Module, architecture: str = "test_vit") -> Model:
    """Give a tiny model whose part at `place` is `module`."""
    model = tiny_model(architecture)
    parent, _, name = place.rpartition(".")
    owner = model.module.get_submodule(parent)
    setattr(owner, name, module)
    return model


def explained(session: Session, *, step: int = 0) -> NotFiniteError:
    """Take one step that must be bad, and hold everything but the explanation to be unchanged."""
    module = session.module
    weights = {n: value.detach().clone() for n, value in module.named_parameters()}
    micro_batches = next(session.batches(step, step + 1))
    with pytest.raises(BadStep):
        train_step(session, micro_batches, step=step)
    assert all(value.grad is None for value in module.parameters())
    before = copy.deepcopy(module.state_dict())
    modes = [part.training for part in module.modules()]
    moments = dict(session.optimizer.state)
    random = torch.get_rng_state()
    error = explain_bad_step(session, step)
    assert torch.equal(torch.get_rng_state(), random)
    assert [part.training for part in module.modules()] == modes
    assert all(value.grad is None for value in module.parameters())
    assert dict(session.optimizer.state) == moments
    for name, value in module.state_dict().items():
        assert torch.equal(value.nan_to_num(7), before[name].nan_to_num(7)), name
    for name, value in module.named_parameters():
        assert torch.equal(value.nan_to_num(7), weights[name].nan_to_num(7)), name
    session.close()
    return error


def test_an_overflow_in_a_layer_names_it_and_what_came_before():
    model = tiny_model("test_vit")
    with torch.no_grad():
        model.module.blocks[1].mlp.fc2.weight.fill_(3e38)
    error = explained(opened(model))
    assert error.found is not None
    lines = error.found.splitlines()
    assert lines[0] == "blocks.1.mlp.fc2 (Linear) gave values that are not finite, forward"
    assert lines[1].startswith("its inputs: finite, up to ")
    assert lines[2].startswith("largest value before: ")
    assert lines[3].startswith("images: drawn/0/")
    assert lines[3].endswith("(4 of 4 in this micro-batch)")
    assert error.problem == "the loss or its gradient is not finite in step 1 of 9"
    assert error.where == "micro-batch 1 of 2, fp32"
    assert error.remedy is not None
    assert error.remedy.startswith("lower optim.lr, lengthen the warm-up")


def test_an_overflow_between_layers_names_the_module_around_them():
    error = explained(opened(model_with("blocks.0.mlp.act", Squared())))
    assert "blocks.0.mlp.act (Squared) gave values" in str(error)


def test_the_input_and_the_peak_before_are_told():
    model = model_with("blocks.0.mlp.act", nn.Sequential(Times(1e10), Times(1e30)))
    text = str(explained(opened(model)))
    assert "blocks.0.mlp.act.1 (Times) gave values" in text
    given = float(text.split("up to ")[1].split()[0])
    assert 1e8 < given < 1e12
    assert f"largest value before: {given:.3g}, from blocks.0.mlp.act.0 (Times)" in text


def test_in_place_layers_and_batch_norm_are_left_as_they_were():
    model = model_with("layer3.0.act1", nn.Sequential(nn.ReLU(inplace=True), Times(torch.inf)),
                       "test_resnet")  # fmt: skip
    assert "layer3.0.act1.1 (Times) gave values" in str(explained(opened(model)))


@pytest.mark.parametrize(
    ("module", "name"), [(RootOfNothing(), "RootOfNothing"), (RootOfWeight(), "RootOfWeight")]
)
def test_a_gradient_alone_that_is_not_finite_names_the_layer(module, name):
    model = model_with("blocks.0.mlp.act", nn.Sequential(nn.GELU(), nn.Identity()))
    session = opened(model)
    model.module.blocks[0].mlp.act[1] = module
    for value in module.parameters():
        session.optimizer.add_param_group(
            {"params": [value], "names": ["root"], "label": "root", "scale": 1.0}
        )
    error = explained(session)
    assert f"blocks.0.mlp.act.1 ({name}) gave gradients that are not finite, backward" in str(error)
    assert "the gradient that came to it: finite, up to" in str(error)


def test_a_gradient_that_goes_wrong_between_layers_is_told_by_what_it_comes_to():
    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = tiny_model("test_vit").module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.body(x)
            return y + torch.sqrt(y - y.detach()) * 1.0

    session = opened(tiny_model("test_vit"))
    between = Between()
    between.body = session.module
    error = explained(replace(session, module=between, wrapped=between))
    assert "what takes the output of body" in str(error)


def test_a_weight_is_named():
    model = tiny_model("test_vit")
    with torch.no_grad():
        model.module.blocks[1].attn.proj.weight[2, 3] = torch.nan
    at_start = explained(opened(model))
    assert at_start.found == "not finite before this step: blocks.1.attn.proj.weight"
    assert "another weight file" in str(at_start)
    later = explained(opened(model), step=4)
    assert "lower optim.lr" in str(later)


def test_statistics_in_use_count_as_weights_and_others_do_not():
    model = tiny_model("test_resnet")
    bn = model.module.layer2[0].bn1
    bn.running_mean.fill_(torch.inf)
    session = opened(model)
    train_step(session, next(session.batches(0, 1)), step=0)  # train mode does not read them
    bn.running_mean.fill_(torch.inf)
    bn.eval()
    error = explained(session)
    assert error.found == "not finite before this step: layer2.0.bn1.running_mean"


def test_pixels_name_their_images():
    model = tiny_model("test_vit")
    model = replace(model, input_spec=replace(model.input_spec, std=(0.5, 1e-42, 0.5)))
    error = explained(opened(model))
    assert error.found is not None
    assert error.found.startswith("the pixels are not finite, after mean (0.5, 0.5, 0.5) and std")
    assert "drawn/0/" in error.found
    assert "correct the mean and std" in str(error)


LOSSES = """
import torch


def log_of_nothing(logits, targets):
    # Finite for the plan, which asks with logits of zero; one example of four goes wrong.
    first = torch.arange(len(logits)) == 0
    rest = (1 - 1e9 * logits.abs().sum(1)).clamp(min=0).where(first, 1.0)
    return -torch.log(rest) + logits.square().sum(1)


def root(logits, targets):
    # sqrt(0) of a value that depends on the logits: finite, with an infinite slope.
    return (logits - logits.detach()).abs().sum(1).sqrt() + 0 * targets
"""


@pytest.fixture
def losses(tmp_path, monkeypatch):
    (tmp_path / "gone_wrong.py").write_text(LOSSES, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_loss_is_named_with_its_image(losses):
    error = explained(opened(tiny_model(), loss=Component(name="gone_wrong:log_of_nothing")))
    text = str(error)
    assert "the loss gone_wrong:log_of_nothing is not finite, though what the model" in text
    assert "(1 of 4 in this micro-batch)" in text
    assert "keep its logarithms, roots and divisions away from zero" in text


def test_the_gradient_of_a_loss_is_told_from_that_of_the_model(losses):
    text = str(explained(opened(tiny_model(), loss=Component(name="gone_wrong:root"))))
    assert "the gradient of the loss gone_wrong:root is not finite" in text


def test_values_that_are_finite_when_seen_again_are_told_as_such():
    session = opened(tiny_model())
    error = explain_bad_step(session, 0)
    assert "gave finite values a second time" in str(error)


def test_the_second_micro_batch_is_looked_at_as_well():
    model = tiny_model("test_resnet")
    session = opened(model)
    marked = session.to_device(next(session.batches(0, 1))[1])[0][0]

    class Marked(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hit = (x == marked).flatten(1).all(1)
            return x.masked_fill(hit[:, None, None, None], torch.inf)

    stem = model.module.conv1
    stem[0] = nn.Sequential(Marked(), stem[0])
    error = explained(session)
    assert error.where == "micro-batch 2 of 2, fp32"
    assert "conv1.0.0 (Marked)" in str(error)


def test_a_weight_that_a_finite_gradient_made_infinite_is_not_saved():
    method = Component(name="sgd", options={"momentum": 0.0})
    constant = Component(name="constant")
    optim = OptimRecipe(lr=3e38, method=method, weight_decay=0.0, schedule=constant)
    session = opened(tiny_model(), optim=optim)
    session.module.head_drop = Steep(100)
    check_weights(session, 0)
    stats = train_step(session, next(session.batches(0, 1)), step=0)
    assert stats.grad_norm < 1e6
    with pytest.raises(NotFiniteError, match="not finite after step 1") as caught:
        check_weights(session, 1)
    assert caught.value.found is not None
    assert caught.value.found.startswith("cls_token, ")


def test_a_statistic_that_overflowed_without_a_trace_is_not_saved():
    model = tiny_model("test_resnet")
    session = opened(model)
    with torch.no_grad():
        model.module.conv1[0].weight.mul_(1e25)  # its squares overflow; batch norm hides it
    stats = train_step(session, next(session.batches(0, 1)), step=0)
    assert bool(stats.loss.isfinite())
    with pytest.raises(NotFiniteError, match="running statistics are not finite") as caught:
        check_weights(session, 1)
    assert caught.value.found is not None
    assert "running_var" in caught.value.found
    train_step(session, next(session.batches(1, 2)), step=1)  # train mode does not read them


def test_a_run_ends_at_the_step_with_its_last_checkpoint_good_and_ends_there_again(run):
    method = Component(name="sgd")
    constant = Component(name="constant")
    optim = OptimRecipe(lr=3000.0, method=method, weight_decay=0.0, schedule=constant)
    recipe = tiny_recipe(
        optim=optim, train=TRAIN, save=SaveRecipe(every="1 steps"), eval=EvalRecipe(every="100%")
    )
    texts = []
    for _ in range(2):
        model, splits = tiny_model("test_vit"), drawn_splits()
        plan = make_plan(recipe, model, splits, join_world())
        with pytest.raises(NotFiniteError, match=r"not finite in step \d of 9") as caught:
            train(plan, model, splits, run)
        texts.append(str(caught.value))
        good = int(caught.value.problem.split()[-3]) - 1
        newest = max((run / "checkpoints").iterdir())
        assert int(newest.name.removeprefix("step-")) == good > 0
        weights = load_file(newest / "model.safetensors")
        assert all(bool(value.isfinite().all()) for value in weights.values())
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == list(range(1, good + 1))
        assert all(math.isfinite(line["loss"] + line["grad_norm"]) for line in lines)
    assert texts[0] == texts[1]
