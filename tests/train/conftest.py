"""Fixtures over the drawn splits, tiny models and small recipes of `tests.drawn`."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from hftune.core import Model, Splits
from hftune.recipe.schema import Recipe, UnfreezeStep
from hftune.train.control import Control, Ready, Wish
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
    agree, note_save = Control.agree, Control.note_save

    def arm(step: int) -> None:
        sent: list[int] = []

        def stop(at: int) -> None:
            if at == step and not sent:
                sent.append(at)  # a run that goes on from this step is not stopped again
                signal.raise_signal(signal.SIGTERM)

        def agreed(self: Control, at: int, ready: Ready[object]) -> Wish:
            stop(at)
            return agree(self, at, ready)

        def noted(self: Control, at: int) -> None:  # after the last step nothing is agreed
            note_save(self, at)
            stop(at)

        monkeypatch.setattr(Control, "agree", agreed)
        monkeypatch.setattr(Control, "note_save", noted)

    yield arm
    monkeypatch.undo()
