"""Two processes that share every batch train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist
from training_cases import STUDENT, TEACHER, TUNING, assert_same_states, figures, write

from invsolve.training import loop
from invsolve.training.finetune import finetune
from invsolve.training.teacher import distill, train

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not dist.is_gloo_available(), reason="this torch is built without gloo"),
]


def torchrun(*command: object) -> subprocess.CompletedProcess:
    """The real command in two processes on this machine."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "invsolve"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [*start, *map(str, command), "--device", "cpu"]
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=200, check=False)


def assert_same_run(one: Path, two: Path, steps: int, names: tuple[str, ...]) -> None:
    """Figures of the whole run to 1e-5 of themselves; weights, of unit mean square, to 1e-3."""
    for name in names:
        (expected,) = figures(one, name)
        assert figures(two, name) == [pytest.approx(expected, rel=1e-5)], name
    assert_same_states(one / "state.pt", two / "state.pt", steps, tolerance=1e-3)


def test_two_processes_train_distil_and_fine_tune_as_one(pictures, tmp_path):
    config = write(tmp_path / "t.yaml", TEACHER, images=80, accumulate=2)
    ended = torchrun("train", config, "--data", pictures, "--out", tmp_path / "two")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("wrote") == 1
    assert len(list((tmp_path / "two" / "cache").glob("*.u8"))) == 1  # decoded by one for both
    teacher = train(config, [str(pictures)], tmp_path / "one", "cpu")
    assert_same_run(tmp_path / "one", tmp_path / "two", 10, ("loss",))

    config = write(tmp_path / "d.yaml", STUDENT, images=96)
    ended = torchrun("distill", config, "--teacher", teacher, "--data", pictures, "--out", tmp_path / "d2")
    assert ended.returncode == 0, ended.stderr
    generator = distill(config, teacher, [str(pictures)], tmp_path / "d1", "cpu")
    names = ("fake", "distillation", "discriminator", "adversarial")
    assert_same_run(tmp_path / "d1", tmp_path / "d2", 12, names)

    config = write(tmp_path / "f.yaml", TUNING, images=96, keep=0.4)
    given = ("--generator", generator, "--teacher", teacher)
    ended = torchrun("finetune", config, *given, "--data", pictures, "--out", tmp_path / "f2")
    assert ended.returncode == 0, ended.stderr
    finetune(config, generator, teacher, [str(pictures)], tmp_path / "f1", "cpu")
    assert_same_run(tmp_path / "f1", tmp_path / "f2", 12, ("distance", "error", "kept"))


def test_a_batch_that_two_processes_cannot_share_is_refused(pictures, tmp_path):
    config = write(tmp_path / "t.yaml", TEACHER, batch=9)
    ended = torchrun("train", config, "--data", pictures, "--out", tmp_path / "out")
    assert ended.returncode != 0
    assert "batch 9 cannot be shared evenly by 2 processes of 1 micro-batches" in ended.stderr
    assert not (tmp_path / "out").exists()


APART = """
import os, sys
folder = f"machine{os.environ['RANK']}"
os.makedirs(folder, exist_ok=True)
os.chdir(folder)
from invsolve.cli import main
from invsolve.runtime import processes
processes.PATIENCE = 0.5
processes.leave(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("folders", "named"), [(["out"], "out"), (["../out", "--cache", "cache"], "cache")], ids=str)
def test_folders_that_the_processes_do_not_share_are_refused(pictures, tmp_path, folders, named):
    """Each in its own, as on machines without a common disk; they waited for ever for each other's pictures."""
    (tmp_path / "apart.py").write_text(APART)
    config = write(tmp_path / "t.yaml", TEACHER, images=16)
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "apart.py"]
    arguments = [*start, "train", str(config), "--data", str(pictures), "--device", "cpu", "--out", *folders]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        arguments, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode != 0
    assert f"invsolve: error: {named} is not one folder for all processes" in ended.stderr
    assert not list(tmp_path.rglob("*.u8"))
    assert not list(tmp_path.rglob(".shared-*"))


UNEQUAL = """
import json, os, sys
from invsolve.cli import main
from invsolve.training import loop
from invsolve.training import teacher as commands
from invsolve.runtime import processes
from invsolve.training.identity import of_weights
rank, seed, to_unit, run, calls = processes.rank(), commands.torch.manual_seed, loop.to_unit, commands.train_loop, []
def spoiled(pictures, device):
    calls.append(1)
    return to_unit(pictures, device) * (float("nan") if rank == 1 and len(calls) == 3 else 1)
def run_and_tell(config, crops, trainees, *rest):
    commands.torch.manual_seed = seed
    run(config, crops, trainees, *rest)
    trainee = trainees["teacher"]
    networks = [trainee.network, *(average.network for average in trainee.averages)]
    with open(f"rank{rank}.json", "w") as file:
        json.dump([trainee.steps, trainee.skipped, *map(of_weights, networks)], file)
commands.torch.manual_seed = lambda value: seed(value + rank)
commands.train_loop, loop.to_unit = run_and_tell, spoiled
processes.leave(main(sys.argv[1:]))
"""


def test_all_start_with_the_firsts_weights_and_skip_what_is_bad_in_one(pictures, tmp_path, monkeypatch):
    """The second has another seed for its own, and pictures that are NaN in step 3."""
    (tmp_path / "unequal.py").write_text(UNEQUAL)
    config = write(tmp_path / "t.yaml", TEACHER, images=48)
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "unequal.py"]
    arguments = [*start, "train", str(config), "--data", str(pictures), "--device", "cpu", "--out", "two"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        arguments, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode == 0, ended.stderr
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first[:2] == [5, 1]
    to_unit, factors = loop.to_unit, iter([1, 1, float("nan"), 1, 1, 1])
    monkeypatch.setattr(loop, "to_unit", lambda pictures, device: to_unit(pictures, device) * next(factors))
    train(config, [str(pictures)], tmp_path / "one", "cpu")
    assert_same_states(tmp_path / "one" / "state.pt", tmp_path / "two" / "state.pt", 6, tolerance=1e-3)
