"""Whether this machine, the Hub and a recipe are ready for a run, with a remedy where not."""

from hftune.doctor.examine import Examination, examine
from hftune.doctor.finding import Finding

__all__ = ["Examination", "Finding", "examine"]
