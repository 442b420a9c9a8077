"""A batch in micro-batches: the same losses and weights as in one piece."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_cases import STUDENT, TEACHER, assert_same_states, figures, refused, write

from invsolve.training.distill import distill
from invsolve.training.teacher import train

pytestmark = pytest.mark.usefixtures("one_thread")


def assert_same_runs(left: Path, right: Path, steps: int, names: tuple[str, ...]) -> None:
    """The losses of every step to 1e-5 of themselves; weights, of unit mean square, to 1e-3 after all of them."""
    for name in names:
        assert figures(left, name) == pytest.approx(figures(right, name), rel=1e-5), name
        assert figures(left, name)
    assert_same_states(left / "state.pt", right / "state.pt", steps, tolerance=1e-3)


def test_micro_batches_train_the_same_teacher(pictures, tmp_path):
    for count in (1, 4):
        config = write(tmp_path / "t.yaml", TEACHER, images=32, accumulate=count, checkpoint_every=1)
        train(config, [str(pictures)], tmp_path / str(count), "cpu")
    assert_same_runs(tmp_path / "1", tmp_path / "4", 4, ("loss",))


@pytest.mark.slow
def test_micro_batches_distil_the_same_prior(teacher, pictures, tmp_path):
    for count in (1, 2):
        config = write(tmp_path / "d.yaml", STUDENT, images=96, accumulate=count, checkpoint_every=1)
        distill(config, teacher, [str(pictures)], tmp_path / str(count), "cpu")
    assert_same_runs(tmp_path / "1", tmp_path / "2", 12, ("fake", "distillation", "discriminator", "adversarial"))


def test_a_batch_that_cannot_be_divided_is_refused(pictures, tmp_path):
    config = write(tmp_path / "t.yaml", TEACHER, accumulate=3)
    refused(
        "batch is 8 but must be a multiple of accumulate, 3", train, config, [str(pictures)], tmp_path / "out", "cpu"
    )
    assert not (tmp_path / "out").exists()
