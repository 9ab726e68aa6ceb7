"""Folded batch norm on a device: as near to the layers one by one as the precision allows."""

import pytest
import timm
import torch

from hftune.model.fused import find_pairs, fused

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

SHAPE = (3, 64, 64)


@pytest.mark.parametrize(
    ("dtype", "most"),
    [(torch.float32, 0.005), (torch.float16, 0.01), (torch.bfloat16, 0.08)],  # fp32 may be TF32
    ids=str,
)
@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet"])
def test_folding_is_as_exact_on_a_device(name, dtype, most):
    torch.manual_seed(0)
    module = timm.create_model(name, num_classes=5).cuda().train()
    module.to(memory_format=torch.channels_last)
    inputs = torch.randn(8, *SHAPE, device="cuda").to(memory_format=torch.channels_last)
    with torch.inference_mode():
        module(inputs)  # statistics of their own
        folded = fused(module, find_pairs(module, SHAPE))
        exact = module.eval()(inputs)
        with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
            said = folded(inputs).float()
    assert next(folded.parameters()).device.type == "cuda"
    assert float((said - exact).abs().max() / exact.abs().max()) < most
