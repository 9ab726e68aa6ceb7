"""A model behind HTTP: batches, bounds, and a page to drop an image on."""

from hftune.serve.limits import Limits
from hftune.serve.run import RunningModel, running, serve

__all__ = ["Limits", "RunningModel", "running", "serve"]
