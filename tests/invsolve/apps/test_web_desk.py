"""The thread that restores for several users: what it shows and writes, turns, and stops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_pictures import picture, pixels

from invsolve.apps import restore
from invsolve.apps.web.desk import Cancelled, Desk
from invsolve.cli import main
from invsolve.priors.watched import Watched
from invsolve.specs.options import RunOptions

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def desk():
    desk = Desk()
    yield desk
    desk.close()


@pytest.fixture
def options(tiny_prior, tmp_path):
    source = picture(tmp_path / "a.png")

    def make(folder: str = "out", task: str = "denoise", **more) -> RunOptions:
        return RunOptions(task, (str(source),), tmp_path / folder, prior=str(tiny_prior), device="cpu", **more)

    return make


def test_restores_what_run_does(desk, options, tiny_prior, tmp_path):
    *steps, last = desk.restore(options(steps=3))
    assert [(step.done, step.total, tuple(step.image.shape)) for step in steps] == [
        (k, 3, (3, 48, 64)) for k in (1, 2, 3)
    ]
    command = ["run", "denoise", "--input", tmp_path / "a.png", "--prior", tiny_prior, "--steps", 3, "--device", "cpu"]
    assert main([str(word) for word in [*command, "--output", tmp_path / "b.png"]]) == 0
    assert np.array_equal(pixels(last.paths["restored"]), pixels(tmp_path / "b.png"))
    assert len(last.said) == 1
    assert "gray levels" in last.said[0]


def test_counts_the_evaluations_of_all_samples(desk, options):
    *steps, last = desk.restore(options(samples=3, steps=2, simulate=True))
    assert {step.total for step in steps} == {6}
    assert steps[-1].done == 6
    assert {"restored", "measurement", "mean", "std", "sample3", "metrics"} <= last.paths.keys()
    assert all(path.is_file() for path in last.paths.values())
    assert any("PSNR" in line for line in last.said)


def test_one_who_leaves_stops_within_an_evaluation(desk, options, monkeypatch):
    evaluations = []

    class Counted(Watched):
        def sample(self, *arguments, **more):
            evaluations.append(len(evaluations))
            return super().sample(*arguments, **more)

    monkeypatch.setattr(restore, "Watched", Counted)
    restoring = desk.restore(options("left", steps=1000))
    next(restoring), next(restoring)
    seen_before = len(evaluations)
    restoring.close()
    left_at = len(evaluations)
    assert len([*desk.restore(options("next", steps=1))]) == 2  # whose turn it is now
    assert 2 <= seen_before <= left_at <= len(evaluations) - 1 <= left_at + 1
    assert not Path(options("left").output).exists()


def test_users_take_turns(desk, options):
    first, second = desk.restore(options("1", steps=5)), desk.restore(options("2", steps=5))
    next(first)
    following = iter(second)
    rest = list(first)
    assert [step.done for step in [next(following), *following][:-1]] == [1, 2, 3, 4, 5]
    assert len(rest) == 5
    assert all((options(folder).output / "a_restored.png").is_file() for folder in ("1", "2"))


def test_what_cannot_be_restored_is_said(desk, options, tmp_path):
    (tmp_path / "a.png").write_bytes(b"\0\0\0\x18ftypmp42")
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        list(desk.restore(options()))
    with pytest.raises(ValueError, match="needs --kernel"):
        list(desk.restore(options(task="deblur_motion")))


def test_closing_ends_what_is_going_on(desk, options):
    restoring = desk.restore(options(steps=1000))
    next(restoring)
    desk.close()  # returns
    with pytest.raises(Cancelled):
        list(restoring)
