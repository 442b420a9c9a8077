"""Runs as labs run them: stopped by a signal, resumed, and with gradients that are not finite."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from training_cases import STUDENT, TEACHER, assert_same_states, before_steps, state_of, steps_done, write

from invsolve.cli import main
from invsolve.runtime.signals import StopSignals
from invsolve.training.distill import distill
from invsolve.training.loop import check_progress
from invsolve.training.teacher import train

pytestmark = pytest.mark.usefixtures("one_thread")


def stopped(command: list[str], out: Path, number: int) -> subprocess.CompletedProcess:
    """Run the real command, and send it and all its workers a signal as soon as it has saved a state."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-m", "invsolve", *command]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 100
        while not (out / "state.pt").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=100)
    finally:
        process.kill()
    return subprocess.CompletedProcess(command, process.returncode, None, errors)


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_training_stopped_by_sigterm_resumes_to_the_same_weights(pictures, tmp_path, workers):
    """As from torchrun, a terminal or a batch system, which send it to the data workers too."""
    config = write(tmp_path / "t.yaml", TEACHER, images=8 * 40, checkpoint_every=10, workers=workers)
    command = ["train", str(config), "--data", str(pictures), "--device", "cpu", "--out"]
    ended = stopped([*command, str(tmp_path / "parts")], tmp_path / "parts", signal.SIGTERM)
    done = steps_done(tmp_path / "parts")
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
    assert 10 <= done < 40
    last = ended.stderr.strip().splitlines()[-1]
    assert last == f"invsolve: SIGTERM: stopped after step {done} of 40; the same command goes on from here"
    for run in ("parts", "whole"):
        assert main([*command, str(tmp_path / run)]) == 0
    assert_same_states(tmp_path / "whole" / "state.pt", tmp_path / "parts" / "state.pt", steps=40)
    whole, parts = (tmp_path / run / "denoiser-ema0.05.safetensors" for run in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()


@pytest.fixture
def heeded() -> Iterator[None]:
    """Ctrl-C as in the foreground; in the background a shell has the tests ignore it."""
    outer = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, outer)


@pytest.mark.usefixtures("heeded")
def test_a_second_signal_acts_as_usual_and_handlers_are_given_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def spoil(monkeypatch, steps: set[int] | range) -> None:
    """Make the images of some of the next steps NaN."""
    before_steps(monkeypatch, lambda number, samples: samples.x.fill_(float("nan")) if number in steps else None)


def trainee_states(out: Path) -> dict:
    return {name: value for name, value in state_of(out).items() if name not in ("step", "training")}


def finite(state: dict) -> bool:
    return all(value.isfinite().all() for value in state["network"].values())


def test_a_bad_step_is_skipped_and_counted(teacher, pictures, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        spoil(patch, {3, 5})
        config = write(tmp_path / "t.yaml", TEACHER, images=8 * 6)
        train(config, [str(pictures)], tmp_path / "t", "cpu")
    state = trainee_states(tmp_path / "t")["teacher"]
    assert (state["steps"], state["skipped"]) == (4, 2)
    assert finite(state)
    line = json.loads((tmp_path / "t" / "metrics.jsonl").read_text().splitlines()[0])
    assert line["skipped_teacher"] == 2
    assert line["loss"] == pytest.approx(line["loss"])  # the mean over the good steps

    spoil(monkeypatch, {10})
    distill(write(tmp_path / "d.yaml", STUDENT), teacher, [str(pictures)], tmp_path / "d", "cpu")
    states = trainee_states(tmp_path / "d")
    counts = {name: (state["steps"], state["skipped"]) for name, state in states.items()}
    assert counts == {"generator": (12, 1), "fake": (15, 1), "discriminator": (11, 1)}
    assert all(finite(state) for state in states.values())


def test_a_diverged_training_stops_with_one_line(pictures, tmp_path, monkeypatch, capsys):
    spoil(monkeypatch, range(4, 1000))
    config = write(tmp_path / "t.yaml", TEACHER, checkpoint_every=10)
    out = tmp_path / "out"
    assert main(["train", str(config), "--data", str(pictures), "--device", "cpu", "--out", str(out)]) == 1
    expected = "the teacher's training diverged: the gradients of 20 of its last 20 updates, up to step 23, were not"
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"invsolve: error: {expected} finite")
    state = trainee_states(out)["teacher"]
    assert (state["steps"], finite(state)) == (3, True)


@pytest.mark.parametrize(
    ("recent", "diverged"),
    [
        ([True] * 19, False),
        ([True] * 20, True),
        ([True] * 19 + [False] + [True] * 19, False),
        ([False] * 30 + [True] * 20, True),
        ([True, False] * 49 + [False, False], False),
        ([True, False] * 50, True),
        ([True, True, False] * 25, True),
    ],
)
def test_what_counts_as_diverged(recent, diverged):
    given = {"fake": SimpleNamespace(recent=recent)}
    with pytest.raises(FloatingPointError, match="the fake's training diverged") if diverged else nullcontext():
        check_progress(given, 1000)


def test_bad_steps_before_a_restart_count(pictures, tmp_path, monkeypatch):
    data, out = [str(pictures)], tmp_path / "out"
    with monkeypatch.context() as patch:
        spoil(patch, range(5, 1000))
        train(write(tmp_path / "t.yaml", TEACHER, images=8 * 12), data, out, "cpu")
    spoil(monkeypatch, range(1, 1000))
    with pytest.raises(FloatingPointError, match="20 of its last 20 updates, up to step 24,"):
        train(write(tmp_path / "t.yaml", TEACHER), data, out, "cpu")
