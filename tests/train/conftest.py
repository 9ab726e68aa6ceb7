"""Fixtures over the drawn splits, tiny models and small recipes of `tests.drawn`."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from hftune.core import Model, Splits
from hftune.recipe.schema import Recipe, UnfreezeStep
from hftune.train.control import Control, Wish
from tests.drawn import drawn_splits, tiny_model, tiny_recipe


@pytest.fixture(scope="session")
def make_splits() -> Callable[..., Splits]:
    return drawn_splits


@pytest.fixture(scope="session")
def make_tiny_model() -> Callable[..., Model]:
    return tiny_model


@pytest.fixture(scope="session")
def make_recipe() -> Callable[..., Recipe]:
    return tiny_recipe


@pytest.fixture(scope="session")
def head_then_all() -> tuple[UnfreezeStep, ...]:
    return (UnfreezeStep(at="0%", train=("head",)), UnfreezeStep(at="50%", train=("all",)))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def state_of() -> Callable[[Model], dict[str, torch.Tensor]]:
    return lambda model: {k: v.clone() for k, v in model.module.state_dict().items()}


@pytest.fixture(scope="session")
def assert_equal_states() -> Callable[..., None]:
    def check(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
        assert one.keys() == other.keys()
        differing = [name for name in one if not torch.equal(one[name], other[name])]
        assert differing == []

    return check


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Send this process a real SIGTERM once `step` steps were taken."""
    agree = Control.agree

    def arm(step: int) -> None:
        def armed(self: Control, at: int) -> Wish:
            if at == step:
                signal.raise_signal(signal.SIGTERM)
            return agree(self, at)

        monkeypatch.setattr(Control, "agree", armed)

    yield arm
    monkeypatch.undo()
