"""What `hftune inspect` prints about a recipe, model, data set, run, checkpoint or repository."""

from hftune.describe.description import Description, Table
from hftune.describe.thing import describe

__all__ = ["Description", "Table", "describe"]
