"""Fine-tune image classifiers: a timm backbone from the Hub, your classes, safetensors back."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hftune.errors import HftuneError
    from hftune.export.artifact import build_artifact
    from hftune.finetune import finetune
    from hftune.hub.pull import pull
    from hftune.hub.push import PushTarget, push
    from hftune.model.backbone import build_model
    from hftune.predict import predict
    from hftune.recipe import load_recipe
    from hftune.recipe.schema import Recipe
    from hftune.train.evaluate import evaluate
    from hftune.train.loop import train

__version__ = "0.1.0"

_HOMES = {
    "HftuneError": "hftune.errors",
    "PushTarget": "hftune.hub.push",
    "Recipe": "hftune.recipe.schema",
    "build_artifact": "hftune.export.artifact",
    "build_model": "hftune.model.backbone",
    "evaluate": "hftune.train.evaluate",
    "finetune": "hftune.finetune",
    "load_recipe": "hftune.recipe",
    "predict": "hftune.predict",
    "pull": "hftune.hub.pull",
    "push": "hftune.hub.push",
    "train": "hftune.train.loop",
}

__all__ = [
    "HftuneError",
    "PushTarget",
    "Recipe",
    "build_artifact",
    "build_model",
    "evaluate",
    "finetune",
    "load_recipe",
    "predict",
    "pull",
    "push",
    "train",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use, so that `import hftune` stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hftune' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """The type of this package, in which a submodule never hides a function of the same name.

    Python binds a submodule to its package when it is first imported, so without this
    `hftune.train` would be a function or a folder, depending on what was imported before.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
