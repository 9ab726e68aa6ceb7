"""Say what this machine's libraries see, a line of JSON for each; run as a script, not imported.

A mixed installation or a broken driver ends this process and no other. Lines come in the order of
IMPORTED; the first that is missing is the one that fails.
"""

import json
import sys
import warnings

warnings.simplefilter("ignore")
answers = sys.stdout
sys.stdout = sys.stderr  # what libraries print is no answer


def say(name: str, **facts: object) -> None:
    """Tell that a package was imported, and what it sees."""
    print(json.dumps({"package": name, **facts}), file=answers, flush=True)


import torch  # noqa: E402

say(
    "torch",
    version=torch.__version__,
    cuda=torch.version.cuda,
    threads=torch.get_num_threads(),
    devices=[
        {
            "name": properties.name,
            "memory": properties.total_memory,
            "capability": [properties.major, properties.minor],
        }
        for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
        for properties in [torch.cuda.get_device_properties(index)]
    ],
    cpu_bf16=bool(torch.cpu._is_avx512_bf16_supported()),
)

import torchvision  # noqa: E402

torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)  # its compiled part
say("torchvision")

import timm  # noqa: E402

say("timm", models=len(timm.list_models()))

import accelerate  # noqa: E402

say("accelerate", version=accelerate.__version__)
