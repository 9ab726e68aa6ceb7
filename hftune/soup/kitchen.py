"""Mixing and tasting: the mean of some ingredients in one module, judged on validation."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hftune.core import EvalResult, Splits
from hftune.model.weights import load_into, read_weights
from hftune.recipe.schema import Recipe
from hftune.soup.ingredients import Ingredient
from hftune.train.average import RunningMean
from hftune.train.batch_norm import (
    recompute_batch_norm,
    running_statistics,
    statistics_batches,
)
from hftune.train.best import metric_value
from hftune.train.evaluate import Judge, judge_module
from hftune.train.plan import best_of


@dataclass(kw_only=True)
class Kitchen:
    """One module for all mixtures, and who judges them. Every rank has one, on its device."""

    ingredients: Mapping[str, Ingredient]
    recipe: Recipe
    splits: Splits
    judge: Judge
    module: nn.Module
    in_module: tuple[str, ...] = field(default=())

    def taste(self, members: tuple[str, ...]) -> float:
        """Give the mixture's value on validation (collective)."""
        return metric_value(self.judged(members), best_of(self.recipe))

    def judged(self, members: tuple[str, ...]) -> EvalResult:
        """Judge a mixture on validation (collective)."""
        self.mix(members)
        step = self.ingredients[members[0]].step
        return judge_module(self.judge, self.module, self.splits.val, step=step)

    def mix(self, members: tuple[str, ...]) -> None:
        """Put the plain mean of the members into the module (collective).

        Batch-norm statistics that are equal in all members stay; others are computed anew on the
        training images. One member alone is as it was, its statistics with it.
        """
        if members == self.in_module:
            return
        mean, seen = RunningMean(), list[Mapping[str, Tensor]]()
        for name in members:
            path = self.ingredients[name].weights
            load_into(self.module, read_weights(path), where=str(path))
            mean.take(self.module)
            seen.append(running_statistics(self.module))
        mean.put_into(self.module)
        layers = frozenset(
            layer for layer in seen[0] if any(not _equal(seen[0], own, layer) for own in seen[1:])
        )
        if layers:
            recompute_batch_norm(
                self.module,
                statistics_batches(self.splits.train, self.judge, self.recipe),
                layers=layers,
                accelerator=self.judge.accelerator,
            )
        self.in_module = members


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor], layer: str) -> bool:
    return torch.equal(one[layer], other[layer])
