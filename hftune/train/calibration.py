"""Whether scores are right as often as they say, and the temperature that mends it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hftune.core import ProblemName
from hftune.train.predictions import Predictions, read_predictions
from hftune.train.run_facts import read_model_record

NUM_BINS = 15
_STEPS = 100
# A temperature beyond these says that the scores carry nothing, or that all images are right.
_LOWEST, _HIGHEST = 0.05, 20.0


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Scores of the given class in bins of equal width: mean score, share right, and images.

    All [B], NaN where a bin is empty. `error` is the expected calibration error: the mean gap
    between the two, weighted by images (Naeini et al. 2015, as in Guo et al. 2017, equation 3).
    """

    score: NDArray[np.float64]
    right: NDArray[np.float64]
    images: NDArray[np.int64]
    error: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Reliability on the images of `split`, as it is and with logits divided by `temperature`.

    The temperature is that of the smallest loss on `fitted_on` (Guo et al. 2017, section 4.2).
    """

    split: str
    fitted_on: str
    temperature: float
    plain: Reliability
    scaled: Reliability


def in_words(found: Calibration) -> str:
    """Say what was found, in a few sentences."""
    names = {"val": "validation"}
    judged, fitted = (names.get(name, name) for name in (found.split, found.fitted_on))
    same = " Both are of the same images, so the second is too good." * (judged == fitted)
    return (
        f"On {judged} images the expected calibration error (15 bins) is {found.plain.error:.3f}."
        f" With logits divided by {found.temperature:.3f}, the temperature of the smallest loss on"
        f" {fitted} images, it is {found.scaled.error:.3f}.{same}"
    )


def calibration_of(run: Path) -> Calibration | None:
    """Give the calibration of a run's best weights; None where it kept no such predictions.

    Raises RunFolderError.
    """
    problem = read_model_record(run).problem
    val, test = read_predictions(run, "val"), read_predictions(run, "test")
    return calibrate(problem, val=val, test=test)


def calibrate(
    problem: ProblemName, *, val: Predictions | None, test: Predictions | None
) -> Calibration | None:
    """Give the calibration of what was said; None without validation, and of numbers.

    Judged on the test split where there is one, and fitted on validation. With several labels per
    image every class of every image counts as one answer of yes or no.
    """
    if problem == "regression" or val is None:
        return None
    judged = test or val
    temperature = fit_temperature(val, several=problem == "multi_label")
    several = problem == "multi_label"
    return Calibration(
        split=judged.split,
        fitted_on=val.split,
        temperature=temperature,
        plain=reliability(*scores_of(judged, 1.0, several=several)),
        scaled=reliability(*scores_of(judged, temperature, several=several)),
    )


def fit_temperature(said: Predictions, *, several: bool) -> float:
    """Give the temperature with the smallest loss, within bounds."""
    logits, targets = said.logits.double(), said.targets
    log = torch.zeros((), dtype=torch.float64, requires_grad=True)
    loss: nn.Module = nn.BCEWithLogitsLoss() if several else nn.CrossEntropyLoss()
    wanted = targets.double() if several else targets.long()
    optimizer = torch.optim.LBFGS([log], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value: Tensor = loss(logits / log.exp(), wanted)
        value.backward()  # type: ignore[no-untyped-call]  # torch's own
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch's own
    found = float(log.detach().exp())
    return min(_HIGHEST, max(_LOWEST, found)) if np.isfinite(found) else 1.0


def scores_of(
    said: Predictions, temperature: float, *, several: bool
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Give the score of each answer, 0..1, and whether it is right, both [N]."""
    logits = said.logits.double() / temperature
    if several:
        yes = logits.sigmoid()
        score = torch.where(yes >= 0.5, yes, 1 - yes)
        right = (yes >= 0.5) == (said.targets >= 0.5)
    else:
        score, answer = logits.softmax(1).max(1)
        right = answer == said.targets.long()
    return score.flatten().numpy(), right.flatten().numpy()


def reliability(score: NDArray[np.float64], right: NDArray[np.bool_]) -> Reliability:
    """Sort answers into bins by their score."""
    places = np.minimum((score * NUM_BINS).astype(int), NUM_BINS - 1)
    images = np.bincount(places, minlength=NUM_BINS)
    known = np.where(images > 0, images, 1)
    mean = np.bincount(places, score, NUM_BINS) / known
    share = np.bincount(places, right, NUM_BINS) / known
    error = float((np.abs(mean - share) * images).sum() / max(1, images.sum()))
    empty = images == 0
    mean[empty] = share[empty] = np.nan
    return Reliability(score=mean, right=share, images=images, error=error)
