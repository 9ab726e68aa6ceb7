"""The floors of recipes and components load without torch, which alone takes seconds."""

import subprocess
import sys

FRESH = """
import sys
import hftune.components
from hftune import load_recipe
load_recipe("elpv-lite0", ["optim.lr=1e-3"])
heavy = {"torch", "timm", "accelerate", "datasets", "huggingface_hub", "numpy"} & {*sys.modules}
assert not heavy, heavy
"""


def test_loading_a_recipe_imports_nothing_heavy() -> None:
    subprocess.run([sys.executable, "-c", FRESH], check=True, timeout=60)
