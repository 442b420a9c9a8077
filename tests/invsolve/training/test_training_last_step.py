"""Weights and snapshots that an interruption kept a training from writing are written, then or by the same command."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch.distributed as dist
from training_cases import (
    STUDENT,
    TEACHER,
    assert_same_states,
    before_steps,
    figures,
    state_of,
    steps_done,
    torchrun,
    weights,
    write,
)

from invsolve.cli import main
from invsolve.priors.file import load_denoiser

pytestmark = pytest.mark.usefixtures("one_thread")


def interrupt(monkeypatch, step: int) -> None:
    """Have Ctrl-C come in the middle of one step of this run."""
    before_steps(monkeypatch, lambda number, _: signal.raise_signal(signal.SIGINT) if number == step else None)


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
def test_a_snapshot_that_cannot_be_written_is_written_later(training, whole, tmp_path, monkeypatch, step):
    """As on a full disk; here a folder has its name."""
    obstacle = tmp_path / f"snapshots/{step:07d}-ema0.05.safetensors"
    with monkeypatch.context() as patch:
        before_steps(patch, lambda number, _: obstacle.mkdir(parents=True) if number == step else None)
        assert main([*training, str(tmp_path)]) == 2
    assert steps_done(tmp_path) == step
    obstacle.rmdir()
    assert main([*training, str(tmp_path)]) == 0
    assert weights(tmp_path) == weights(whole)
    assert_same_states(whole / "state.pt", tmp_path / "state.pt", steps=6)


def test_weights_that_were_lost_or_damaged_after_the_last_step_are_written_again(training, whole, tmp_path):
    assert main([*training, str(tmp_path)]) == 0
    (tmp_path / "denoiser-ema0.05.safetensors").unlink()
    (tmp_path / "denoiser-ema0.1.safetensors").write_bytes(b"half")
    assert main([*training, str(tmp_path)]) == 0
    assert weights(tmp_path) == weights(whole)


def test_a_distillation_stopped_by_ctrl_c_resumes_and_has_its_prior(teacher, pictures, tmp_path, monkeypatch):
    """Stopped in the middle of the third step, and in the last one."""
    config = write(tmp_path / "d.yaml", STUDENT, images=40, snapshot_every=500)
    command = ["distill", str(config), "--teacher", str(teacher), "--data", str(pictures), "--device", "cpu", "--out"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    for step, done in ((3, 3), (2, 5)):
        with monkeypatch.context() as patch:
            interrupt(patch, step)
            assert main([*command, str(tmp_path / "parts")]) == 128 + signal.SIGINT
        assert steps_done(tmp_path / "parts") == done
    files = ["generator-ema0.1.safetensors", "snapshots/0000005-ema0.1.safetensors"]
    assert sorted(weights(tmp_path / "parts")) == files
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    assert state_of(tmp_path / "parts")["generator"]["steps"] == 2
    assert_same_states(tmp_path / "whole" / "state.pt", tmp_path / "parts" / "state.pt", steps=5)


SLOW_FIRST_PROCESS = """
import os, pathlib, signal, sys, time
from invsolve.cli import main
from invsolve.training import exports, samples
rank, of, save, calls = int(os.environ["RANK"]), samples.Samples.of, exports.save_denoiser, []
def interrupt(*given):
    calls.append(given)
    if len(calls) == 2 and rank == 1:
        signal.raise_signal(signal.SIGTERM)
    return of(*given)
def save_slowly(*arguments, **options):
    time.sleep(1)
    save(*arguments, **options)
samples.Samples.of, exports.save_denoiser = interrupt, save_slowly
code = main(sys.argv[1:])
if rank == 1:
    out = pathlib.Path(sys.argv[-1])
    (out / "there").write_text(str(len(list(out.glob("*.safetensors")))))
os._exit(code)
"""


@pytest.mark.slow
@pytest.mark.skipif(not dist.is_gloo_available(), reason="this torch is built without gloo")
def test_of_several_processes_the_others_wait_for_the_last_weights(pictures, tmp_path):
    """When one ends by a signal, torchrun ends all."""
    (tmp_path / "slow.py").write_text(SLOW_FIRST_PROCESS)
    config, out = write(tmp_path / "t.yaml", TEACHER, images=16), tmp_path / "out"
    ended = torchrun(tmp_path / "slow.py", "train", config, "--data", pictures, "--device", "cpu", "--out", out)
    assert ended.returncode != 0
    assert "SIGTERM: stopped after step 2 of 2" in ended.stderr
    assert (out / "there").read_text() == "2"  # when the second process had ended
    for path in out.glob("*.safetensors"):
        assert load_denoiser(path)[1]["record"]["images_seen"] == 16
