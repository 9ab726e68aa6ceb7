"""Batches that a side stream copies to the GPU: the same bits, in order, whatever computes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from hftune.core import Batch
from hftune.data.augment import Given, make_augmentations
from hftune.data.batch_augment import apply_deferred, defer, draw_deferred
from hftune.data.image_input import model_inputs, normalise
from hftune.recipe.schema import Component
from hftune.train.prefetch import prefetched
from tests.drawn import tiny_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def drawn_steps(number: int) -> list[list[Batch]]:
    generator = torch.Generator().manual_seed(0)
    return [
        [
            Batch(
                inputs=torch.randint(
                    256, (16, 3, 96, 96), dtype=torch.uint8, generator=generator
                ).pin_memory(),
                targets=torch.arange(16),
                rows=torch.arange(16),
            )
            for _ in range(2)
        ]
        for _ in range(number)
    ]


def test_copies_arrive_whole_and_in_order_beside_long_computing() -> None:
    device = torch.device("cuda")
    steps = drawn_steps(6)
    busy = torch.rand(2048, 2048, device=device)
    sums = []
    for step in prefetched((one for one in steps), device):
        for batch in step:
            assert batch.inputs.device.type == "cuda"
            sums.append(batch.inputs.long().sum())
        for _ in range(20):  # keeps the device busy while the next copy is made
            busy = busy @ busy / 1024
    expected = [int(batch.inputs.long().sum()) for step in steps for batch in step]
    assert [int(value) for value in sums] == expected


def test_memory_of_a_batch_is_not_given_out_before_it_is_used() -> None:
    device = torch.device("cuda")
    steps = drawn_steps(4)
    kept = []
    for step in prefetched((one for one in steps), device):
        torch.cuda._sleep(20_000_000)  # what reads the batch is queued behind this
        kept.append([batch.inputs.clone() for batch in step])
        del step
        torch.empty(64, 3, 96, 96, dtype=torch.uint8, device=device).fill_(7)
    for copies, step in zip(kept, steps, strict=True):
        for copy, batch in zip(copies, step, strict=True):
            assert torch.equal(copy.cpu(), batch.inputs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pixels_are_normalised_to_the_bits_of_a_cpu(layout: torch.memory_format) -> None:
    spec = tiny_model().input_spec
    pixels = torch.arange(256, dtype=torch.uint8).repeat(12).view(1, 3, 32, 32)
    there = model_inputs(pixels, spec, device=torch.device("cuda"), layout=layout)
    assert torch.equal(there.cpu(), normalise(pixels, spec))


def test_augmentations_on_the_device_give_the_bits_of_a_cpu() -> None:
    """All that a batch can take at once, with enough images for every decision to occur."""
    names = ("color_jitter", "grayscale", "random_erasing", "vertical_flip", "horizontal_flip")
    given = Given(size=(96, 96), interpolation="bicubic", fill=(124, 116, 104))
    _, deferred = defer(
        make_augmentations([Component(name=name) for name in names], given), channels=3
    )
    plain = Image.new("RGB", (96, 96))
    drawn = [draw_deferred(deferred, plain, np.random.default_rng(seed)) for seed in range(16)]
    numbers = torch.tensor(drawn, dtype=torch.float64)
    steps = [[replace(batch, drawn=numbers) for batch in step] for step in drawn_steps(3)]
    ahead = prefetched((one for one in steps), torch.device("cuda"), deferred)
    for step, there in zip(steps, ahead, strict=True):
        for batch, one in zip(step, there, strict=True):
            assert torch.equal(one.inputs.cpu(), apply_deferred(deferred, batch.inputs, numbers))
