"""A forward method is followed also where it decides by shapes, and never for one batch alone."""

import pytest
import torch
from torch import fx, nn

from hftune.model.trace import trace

IMAGES = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
MORE = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))


class Parted(nn.Module):
    """Gives maps and their size, as patch embeddings do."""

    def forward(self, x):
        return x + 1, x.shape[-2:]


class Following(nn.Module):
    """Runs `function(module, x)` as its forward method."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.scale = nn.Parameter(torch.arange(3.0))
        self.register_buffer("shift", torch.arange(4.0))
        self.convolve = nn.Conv2d(3, 3, 1)
        self.parted = Parted()

    def forward(self, x):
        return self.function(self, x)


def by_size(module, x):
    count, channels, height, _ = x.shape
    if height > 3 and x.ndim == 4 and channels == module.scale.numel():
        x = x * module.scale[:, None, None]
    return x.reshape(count, -1).reshape(x.size(0) * 3, -1)


def by_size_of_a_layer(module, x):
    x, size = module.parted(module.convolve(x))
    if size[0] == 4:
        x = x.reshape(len(IMAGES.shape) // 4, -1, *size)
    return x.sum(0)


def with_made_tensors(module, x):
    places = torch.arange(x.shape[-1], dtype=x.dtype) + torch.linspace(0, 1, 4)
    return x + torch.sin(places * module.shift)


def whole(*_):
    return False


def follow(function):
    module = Following(function)
    return module, trace(module, IMAGES, whole)


@pytest.mark.parametrize("function", [by_size, by_size_of_a_layer, with_made_tensors])
def test_the_graph_does_for_any_number_of_images_what_the_method_does(function):
    module, graph = follow(function)
    assert torch.equal(fx.GraphModule(module, graph)(MORE), module(MORE))


def by_number(module, x):
    return x + 1 if x.shape[0] == 2 else x


def by_value(module, x):
    return x + 1 if x.sum() > 0 else x


def one_by_one(module, x):
    return torch.stack([image + 1 for image in x])


def with_drawn_tensors(module, x):
    return x + torch.rand(4)


@pytest.mark.parametrize("function", [by_number, by_value, one_by_one, with_drawn_tensors])
def test_what_is_not_the_same_for_every_batch_is_not_followed(function):
    with pytest.raises(fx.proxy.TraceError):
        follow(function)


def test_nothing_is_left_in_the_module_and_its_buffers_are_read_from_it():
    module, graph = follow(with_made_tensors)
    assert vars(module).keys() == vars(Following(with_made_tensors)).keys()
    assert [node.target for node in graph.nodes if node.op == "get_attr"] == ["shift"]


def test_layers_run_only_where_a_shape_is_asked_for():
    module = Following(lambda own, x: own.convolve(x).relu())
    runs = []
    module.convolve.register_forward_hook(lambda *_: runs.append(1))
    trace(module, IMAGES, whole)
    assert runs == []
    module.function = lambda own, x: own.convolve(x).flatten(1)[:, : x.shape[1]]
    trace(module, IMAGES, whole)
    assert runs == []
    module.function = lambda own, x: x[:, : own.convolve(x).shape[1]]
    trace(module, IMAGES, whole)
    assert runs == [1, 1]  # for two images, and for three
