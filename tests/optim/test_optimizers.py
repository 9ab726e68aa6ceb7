"""Every optimizer in the table, on a network of a convolution and a linear layer."""

import inspect

import pytest
import torch
from torch import nn

from hftune.components import check_options
from hftune.errors import ComponentError
from hftune.optim.groups import ParamGroup
from hftune.optim.optimizers import OPTIMIZERS, make_optimizer
from hftune.recipe.schema import Component, OptimRecipe


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 3))


GROUPS = (
    ParamGroup(label="body", names=("0.weight",), scale=0.5, weight_decay=0.1),
    ParamGroup(label="rest", names=("0.bias", "2.weight", "2.bias"), scale=1.0, weight_decay=0.0),
)


def optimizer_of(name, module, *, lr=1e-2, folder=None, **options):
    recipe = OptimRecipe(lr=lr, method=Component(name=name, options=options))
    return make_optimizer(GROUPS, module, recipe, folder=folder)


def take_steps(module, optimizer, *, first=0, last=3):
    for step in range(first, last):
        inputs = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(step))
        module(inputs).logsumexp(1).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def weights(module):
    return {name: value.detach().clone() for name, value in module.named_parameters()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_moves_every_parameter(name):
    module = network()
    before = weights(module)
    take_steps(module, optimizer_of(name, module))
    for key, value in weights(module).items():
        assert bool(value.isfinite().all())
        assert not torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_of_numbers_and_tensors_continues_the_run(name):
    straight = network()
    take_steps(straight, optimizer_of(name, straight), last=6)
    module = network()
    first = optimizer_of(name, module)
    take_steps(module, first)
    second = optimizer_of(name, module)
    for parameter, state in first.state.items():
        assert all(isinstance(value, torch.Tensor | float | int) for value in state.values())
        second.state[parameter] = {
            entry: value.clone() if isinstance(value, torch.Tensor) else value
            for entry, value in state.items()
        }
    for old, new in zip(first.param_groups, second.param_groups, strict=True):
        if "step" in old:
            new["step"] = old["step"]
        assert {key for key in old if key not in new} <= {"step"}
    take_steps(module, second, first=3, last=6)
    for key, value in weights(module).items():
        assert torch.equal(value, weights(straight)[key]), key


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_default_of_every_option_passes_its_own_check(name):
    options = {
        option.name: option.default
        for option in inspect.signature(OPTIMIZERS[name]).parameters.values()
        if option.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert not {"lr", "weight_decay", "fused", "foreach"} & options.keys()
    assert check_options(OPTIMIZERS[name], options, where="test") == options


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adamw", "adam"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_fused_step_is_the_plain_one(name, layout):
    fused, plain = network().to(memory_format=layout), network()
    optimizer, reference = optimizer_of(name, fused), optimizer_of(name, plain)
    assert all(group["fused"] for group in optimizer.param_groups)
    for group in reference.param_groups:
        group.update(fused=False, foreach=False)
    take_steps(fused, optimizer, last=10)
    take_steps(plain, reference, last=10)
    for key, value in weights(fused).items():
        # A product and a sum are rounded once in place of twice; weights are below 1.
        assert (value - weights(plain)[key]).abs().max() <= 1e-7, key
    assert fused[0].weight.is_contiguous(memory_format=layout)


def test_a_parameter_with_gaps_in_memory_takes_the_plain_step():
    # A fused kernel would pair its numbers with those of a gradient that has no gaps.
    module = network()
    module[2].weight = nn.Parameter(torch.randn(3, 32)[:, ::2])
    optimizer = optimizer_of("adamw", module)
    assert not any(group["fused"] for group in optimizer.param_groups)
    before = weights(module)
    take_steps(module, optimizer)
    assert not torch.equal(weights(module)["2.weight"], before["2.weight"])


def test_groups_carry_what_the_loop_needs():
    optimizer = optimizer_of("adamw", network(), lr=0.2)
    seen = [
        {key: group[key] for key in ("lr", "scale", "label", "names", "weight_decay")}
        for group in optimizer.param_groups
    ]
    assert seen == [
        {
            "lr": 0.1,
            "scale": 0.5,
            "label": "body",
            "names": ["0.weight"],
            "weight_decay": 0.1,
        },
        {
            "lr": 0.2,
            "scale": 1.0,
            "label": "rest",
            "names": ["0.bias", "2.weight", "2.bias"],
            "weight_decay": 0.0,
        },
    ]


def test_adamw_first_step_by_hand():
    # With bias correction the first step is lr * sign(gradient), after decay by 1 - lr * decay.
    module = nn.Sequential(nn.Linear(1, 1, bias=False))
    nn.init.constant_(module[0].weight, 2.0)
    group = ParamGroup(label="main", names=("0.weight",), scale=1.0, weight_decay=0.5)
    optimizer = make_optimizer((group,), module, OptimRecipe(lr=0.1))
    module(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    assert module[0].weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1)


@pytest.mark.parametrize(("nesterov", "expected"), [(False, 2.9), (True, 3.61)])
def test_sgd_two_steps_by_hand(nesterov, expected):
    # Gradient 1, momentum 0.9: plain steps 1 and 1.9; Nesterov 1.9 and 1 + 0.9 * 1.9 = 2.71.
    module = nn.Sequential(nn.Linear(1, 1, bias=False))
    nn.init.zeros_(module[0].weight)
    group = ParamGroup(label="main", names=("0.weight",), scale=1.0, weight_decay=0.0)
    method = Component(name="sgd", options={"nesterov": nesterov})
    optimizer = make_optimizer((group,), module, OptimRecipe(lr=1.0, method=method))
    for _ in range(2):
        optimizer.zero_grad()
        module(torch.ones(1, 1)).sum().backward()
        optimizer.step()
    assert -module[0].weight.item() == pytest.approx(expected + nesterov)


def test_options_reach_the_optimizer():
    optimizer = optimizer_of("adamw", network(), betas=[0.8, 0.95], eps=1e-6)
    assert optimizer.defaults["betas"] == (0.8, 0.95)
    assert optimizer.defaults["eps"] == 1e-6
    assert optimizer_of("lamb", network(), max_grad_norm=None).defaults["max_grad_norm"] is None


def test_timm_optimizers_have_the_peak_rate_as_default():
    # Corrected weight decay divides by the default rate.
    assert optimizer_of("adamc", network(), lr=0.2).defaults["lr"] == 0.2


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("adamv", {}, "adamw"),
        ("adamw", {"betas": [0.9, 1.0]}, "betas"),
        ("adamw", {"momentum": 0.9}, "momentum"),
        ("adamw", {"weight_decay": 0.1}, "weight_decay"),
        ("lamb", {"trust_clp": True}, "trust_clip"),
        ("sgd", {"momentum": 0, "nesterov": True}, "Nesterov"),
        ("nadam", {"eps": -1.0}, "epsilon"),
        ("adahessian", {}, "adahessian"),
    ],
)
def test_wrong_names_and_options_are_refused(name, options, text):
    with pytest.raises(ComponentError) as caught:
        optimizer_of(name, network(), **options)
    assert text in str(caught.value)


def test_own_optimizer_is_found(tmp_path):
    code = (
        "import torch\n\n\n"
        "def plain(groups, *, momentum: float = 0.0):\n"
        "    return torch.optim.SGD(groups, momentum=momentum)\n"
    )
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    optimizer = optimizer_of("./mine.py:plain", network(), folder=tmp_path, momentum=0.5)
    assert optimizer.defaults["momentum"] == 0.5
