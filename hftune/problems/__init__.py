"""Problems by name: what the labels of an example mean.

To add one, write a class with the members of `Problem` and give `PROBLEMS` a line.
"""

from hftune.core import ProblemName
from hftune.problems.contract import Decoded, Problem
from hftune.problems.multi_label import MultiLabel
from hftune.problems.regression import Regression
from hftune.problems.single_label import SingleLabel

__all__ = ["PROBLEMS", "Decoded", "Problem"]

PROBLEMS: dict[ProblemName, Problem] = {
    "single_label": SingleLabel(),
    "multi_label": MultiLabel(),
    "regression": Regression(),
}
