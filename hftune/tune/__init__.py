"""A search over a recipe's settings, each trial of it a whole run; Optuna chooses what to try."""

from hftune.tune.best import BEST_FILE
from hftune.tune.method import Method, Pruner, Sampler
from hftune.tune.rounds import Budget
from hftune.tune.search import PICTURE, tune

__all__ = ["BEST_FILE", "PICTURE", "Budget", "Method", "Pruner", "Sampler", "tune"]
