"""A model is cut on a real device as on a CPU, in half precision too; skipped without one."""

import pytest
import torch

from hftune.model.prefix import Prefix, Rest, find_cut
from tests.drawn import tiny_model
from tests.model.test_prefix import Opened

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_decides_by_shapes_is_cut_on_a_device(dtype):
    one = Opened(tiny_model("test_vit").module.cuda(), ("head", "stage.-1"))
    images = one.inputs.cuda()
    with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
        cut = find_cut(one.module, images[:2], head=one.layers.head)
        assert cut is not None
        parts = Rest(one.module, cut.trained, cut.packing)(Prefix(one.module, cut)(images))
        whole = one.module(images)
    assert cut.last_layer == "blocks.4"
    # The same kernels on the same numbers; a library may pick others for a second call.
    torch.testing.assert_close(parts, whole)
