"""Weights and snapshots that an interruption kept a training from writing are written, then or by the same command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist
from training_cases import STUDENT, TEACHER, assert_same_states, figures, write

from invsolve.cli import main
from invsolve.priors.file import load_denoiser
from invsolve.training import loop
from invsolve.training import teacher as commands

pytestmark = pytest.mark.usefixtures("one_thread")


def interrupt(monkeypatch, step: int) -> None:
    """Have Ctrl-C come in the middle of one step of this run."""
    split, calls = loop.Samples.split, []

    def split_and_interrupt(samples, count):
        calls.append(count)
        if len(calls) == step:
            signal.raise_signal(signal.SIGINT)
        return split(samples, count)

    monkeypatch.setattr(loop.Samples, "split", split_and_interrupt)


def fill_disk(monkeypatch, images: int) -> None:
    """Have no weights fit on the disk that have seen so many images."""
    save = commands.save_denoiser

    def save_if_it_fits(path, denoiser, record, *rest, **options):
        if record["images_seen"] == images:
            raise OSError(28, "No space left on device")
        save(path, denoiser, record, *rest, **options)

    monkeypatch.setattr(commands, "save_denoiser", save_if_it_fits)


def weights(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.safetensors")}


@pytest.fixture(scope="module")
def training(pictures, tmp_path_factory) -> list[str]:
    """A command of six steps with snapshots after the second, the fourth and the sixth; ``--out`` is to follow."""
    folder = tmp_path_factory.mktemp("config")
    config = write(folder / "t.yaml", TEACHER, images=48, checkpoint_every=1, snapshot_every=2)
    return ["train", str(config), "--data", str(pictures), "--device", "cpu", "--out"]


@pytest.fixture(scope="module")
def whole(training, tmp_path_factory) -> Path:
    """The folder of that training, undisturbed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert main([*training, str(out)]) == 0
    assert len(weights(out)) == 2 + 2 * 3
    return out


@pytest.mark.parametrize("step", [2, 6])
def test_a_signal_does_not_lose_a_snapshot_or_the_last_weights(training, whole, tmp_path, monkeypatch, step):
    with monkeypatch.context() as patch:
        interrupt(patch, step)
        assert main([*training, str(tmp_path)]) == 128 + signal.SIGINT
    snapshot = f"snapshots/{step:07d}-ema0.05.safetensors"
    assert weights(tmp_path)[snapshot] == weights(whole)[snapshot]
    if step == 6:
        assert weights(tmp_path) == weights(whole)
    assert main([*training, str(tmp_path)]) == 0
    assert weights(tmp_path) == weights(whole)
    assert figures(tmp_path, "validation") == figures(whole, "validation")
    assert_same_states(whole / "state.pt", tmp_path / "state.pt", steps=6)


def test_a_signal_at_another_step_is_not_kept_waiting(training, tmp_path, monkeypatch):
    interrupt(monkeypatch, 3)
    assert main([*training, str(tmp_path)]) == 128 + signal.SIGINT
    assert len(figures(tmp_path, "validation")) == 2
    assert load_denoiser(tmp_path / "denoiser-ema0.05.safetensors")[1]["record"]["images_seen"] == 16


@pytest.mark.parametrize("step", [2, 6])
def test_a_full_disk_does_not_lose_a_snapshot_or_the_last_weights(training, whole, tmp_path, monkeypatch, step):
    with monkeypatch.context() as patch:
        fill_disk(patch, images=8 * step)
        assert main([*training, str(tmp_path)]) == 2
    assert f"snapshots/{step:07d}-ema0.05.safetensors" not in weights(tmp_path)
    assert main([*training, str(tmp_path)]) == 0
    assert weights(tmp_path) == weights(whole)
    assert_same_states(whole / "state.pt", tmp_path / "state.pt", steps=6)


def test_weights_that_were_lost_or_damaged_after_the_last_step_are_written_again(training, whole, tmp_path):
    assert main([*training, str(tmp_path)]) == 0
    (tmp_path / "denoiser-ema0.05.safetensors").unlink()
    (tmp_path / "denoiser-ema0.1.safetensors").write_bytes(b"half")
    assert main([*training, str(tmp_path)]) == 0
    assert weights(tmp_path) == weights(whole)


def test_a_distillation_stopped_in_its_last_step_has_its_prior(teacher, pictures, tmp_path, monkeypatch):
    config = write(tmp_path / "d.yaml", STUDENT, images=40, snapshot_every=500)
    command = ["distill", str(config), "--teacher", str(teacher), "--data", str(pictures), "--device", "cpu", "--out"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    interrupt(monkeypatch, 5)
    assert main([*command, str(tmp_path / "parts")]) == 128 + signal.SIGINT
    assert sorted(weights(tmp_path / "parts")) == [
        "generator-ema0.1.safetensors",
        "snapshots/0000005-ema0.1.safetensors",
    ]
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


SLOW_FIRST_PROCESS = """
import pathlib, signal, sys, time
from invsolve.cli import main
from invsolve.training import loop
from invsolve.training import teacher as commands
from invsolve.runtime import processes
split, save, calls = loop.Samples.split, commands.save_denoiser, []
def split_and_interrupt(samples, count):
    calls.append(count)
    if len(calls) == 2 and processes.rank() == 1:
        signal.raise_signal(signal.SIGTERM)
    return split(samples, count)
def save_slowly(*arguments, **options):
    time.sleep(1)
    save(*arguments, **options)
loop.Samples.split, commands.save_denoiser = split_and_interrupt, save_slowly
code = main(sys.argv[1:])
if processes.rank() == 1:
    out = pathlib.Path(sys.argv[-1])
    (out / "there").write_text(str(len(list(out.glob("*.safetensors")))))
processes.leave(code)
"""


@pytest.mark.skipif(not dist.is_gloo_available(), reason="this torch is built without gloo")
def test_of_several_processes_the_others_wait_for_the_last_weights(pictures, tmp_path):
    """When one ends by a signal, torchrun ends all."""
    (tmp_path / "slow.py").write_text(SLOW_FIRST_PROCESS)
    config, out = write(tmp_path / "t.yaml", TEACHER, images=16), tmp_path / "out"
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", tmp_path / "slow.py"]
    command = [*start, "train", config, "--data", pictures, "--device", "cpu", "--out", out]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(list(map(str, command)), env=environment, capture_output=True, timeout=100, check=False)
    assert ended.returncode != 0
    assert b"SIGTERM: stopped after step 2 of 2" in ended.stderr
    assert (out / "there").read_text() == "2"  # when the second process had ended
    for path in out.glob("*.safetensors"):
        assert load_denoiser(path)[1]["record"]["images_seen"] == 16
