"""Training pictures and a short training's teacher, shared by the tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_cases import TEACHER, write, write_pictures


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """The folder of ``write_pictures``; tests only read it."""
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def teacher(pictures, tmp_path_factory) -> Path:
    """Weights of the tiny teacher after 64 pictures; a test module that needs another one has its own."""
    from invsolve.training.commands import train

    folder = tmp_path_factory.mktemp("teacher")
    return train(write(folder / "t.yaml", TEACHER, images=64), [str(pictures)], folder / "out", "cpu")
