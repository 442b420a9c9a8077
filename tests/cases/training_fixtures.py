"""What the tests of training share, and those of the benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench_cases import Bench, make_bench
from training_cases import STUDENT, TEACHER, write, write_pictures


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """The folder of ``write_pictures``; tests only read it."""
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def teacher(pictures, tmp_path_factory) -> Path:
    """Weights of the tiny teacher after 64 pictures; a test module that needs another one has its own."""
    from invsolve.training.teacher import train

    folder = tmp_path_factory.mktemp("teacher")
    return train(write(folder / "t.yaml", TEACHER, images=64), [str(pictures)], folder / "out", "cpu")


@pytest.fixture(scope="session")
def generator(teacher, pictures, tmp_path_factory) -> Path:
    """Weights distilled from that teacher."""
    from invsolve.training.distill import distill

    folder = tmp_path_factory.mktemp("generator")
    config = write(folder / "d.yaml", STUDENT, generator_rate=0.01)
    return distill(config, teacher, [str(pictures)], folder / "out", "cpu")


@pytest.fixture(scope="module")
def bench(tiny_prior, tmp_path_factory) -> Bench:
    """Runs ``invsolve bench`` in folders of its own; every test names another."""
    return make_bench(tmp_path_factory.mktemp("bench"), tiny_prior)


@pytest.fixture(scope="module")
def undisturbed(bench) -> Path:
    """The folder of a complete benchmark; tests only read it."""
    return bench("undisturbed")
