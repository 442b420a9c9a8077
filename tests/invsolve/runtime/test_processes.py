"""Two processes that share every batch train as one does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch.distributed as dist
from training_cases import STUDENT, TEACHER, TUNING, assert_same_states, before_steps, figures, torchrun, write

from invsolve.training.distill import distill
from invsolve.training.finetune import finetune
from invsolve.training.teacher import train

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not dist.is_gloo_available(), reason="this torch is built without gloo"),
]


def assert_same_run(one: Path, two: Path, steps: int, names: tuple[str, ...]) -> None:
    """Figures of the whole run to 1e-5 of themselves; weights, of unit mean square, to 1e-3."""
    for name in names:
        (expected,) = figures(one, name)
        assert figures(two, name) == [pytest.approx(expected, rel=1e-5)], name
    assert_same_states(one / "state.pt", two / "state.pt", steps, tolerance=1e-3)


@pytest.mark.slow
def test_two_processes_train_distil_and_fine_tune_as_one(pictures, tmp_path):
    def in_two(command: str, config: Path, out: Path, *arguments: object) -> str:
        where = ("--data", pictures, "--out", out, "--device", "cpu")
        ended = torchrun("-m", "invsolve", command, config, *where, *arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    config = write(tmp_path / "t.yaml", TEACHER, images=80, accumulate=2)
    assert in_two("train", config, tmp_path / "two").count("wrote") == 1
    assert len(list((tmp_path / "two" / "cache").glob("*.u8"))) == 1  # decoded by one for both
    teacher = train(config, [str(pictures)], tmp_path / "one", "cpu")
    assert_same_run(tmp_path / "one", tmp_path / "two", 10, ("loss",))

    config = write(tmp_path / "d.yaml", STUDENT, images=96)
    in_two("distill", config, tmp_path / "d2", "--teacher", teacher)
    generator = distill(config, teacher, [str(pictures)], tmp_path / "d1", "cpu")
    names = ("fake", "distillation", "discriminator", "adversarial")
    assert_same_run(tmp_path / "d1", tmp_path / "d2", 12, names)

    config = write(tmp_path / "f.yaml", TUNING, images=96, keep=0.4)
    in_two("finetune", config, tmp_path / "f2", "--generator", generator, "--teacher", teacher)
    finetune(config, generator, teacher, [str(pictures)], tmp_path / "f1", "cpu")
    assert_same_run(tmp_path / "f1", tmp_path / "f2", 12, ("distance", "error", "kept"))


@pytest.mark.slow
def test_a_batch_that_two_processes_cannot_share_is_refused(pictures, tmp_path):
    config, out = write(tmp_path / "t.yaml", TEACHER, batch=9), tmp_path / "out"
    ended = torchrun("-m", "invsolve", "train", config, "--data", pictures, "--out", out, "--device", "cpu")
    assert ended.returncode != 0
    assert "batch 9 cannot be shared evenly by 2 processes of 1 micro-batches" in ended.stderr
    assert not out.exists()


APART = """
import os, sys
folder = f"machine{os.environ['RANK']}"
os.makedirs(folder, exist_ok=True)
os.chdir(folder)
from invsolve.cli import main
from invsolve.runtime import processes
processes.PATIENCE = 0.5
os._exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("folders", "named"), [(["out"], "out"), (["../out", "--cache", "cache"], "cache")], ids=str)
def test_folders_that_the_processes_do_not_share_are_refused(pictures, tmp_path, folders, named):
    """Each in its own, as on machines without a common disk; they waited for ever for each other's pictures."""
    (tmp_path / "apart.py").write_text(APART)
    config = write(tmp_path / "t.yaml", TEACHER, images=16)
    given = ("--data", pictures, "--device", "cpu", "--out", *folders)
    ended = torchrun("apart.py", "train", config, *given, cwd=tmp_path)
    assert ended.returncode != 0
    assert f"invsolve: error: {named} is not one folder for all processes" in ended.stderr
    assert not list(tmp_path.rglob("*.u8"))
    assert not list(tmp_path.rglob(".shared-*"))


UNEQUAL = """
import json, os, sys, torch
from invsolve.cli import main
from invsolve.training import run, samples, teacher
from invsolve.training.identity import of_weights
rank, seed, loop, of, calls = int(os.environ["RANK"]), torch.manual_seed, teacher.train_loop, samples.Samples.of, []
def spoiled(*given):
    calls.append(given)
    batch = of(*given)
    if rank == 1 and len(calls) == 3:
        batch.x.fill_(float("nan"))
    return batch
def loop_and_tell(run, trainees, *rest):
    torch.manual_seed = seed
    loop(run, trainees, *rest)
    trainee = trainees["teacher"]
    networks = [trainee.network, *(average.network for average in trainee.averages)]
    with open(f"rank{rank}.json", "w") as file:
        json.dump([trainee.steps, trainee.skipped, *map(of_weights, networks)], file)
torch.manual_seed = lambda value: seed(value + rank)
teacher.train_loop, samples.Samples.of = loop_and_tell, spoiled
os._exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_all_start_with_the_firsts_weights_and_skip_what_is_bad_in_one(pictures, tmp_path, monkeypatch):
    """The second has another seed for its own, and images that are NaN in step 3."""
    (tmp_path / "unequal.py").write_text(UNEQUAL)
    config = write(tmp_path / "t.yaml", TEACHER, images=48)
    given = ("--data", pictures, "--device", "cpu", "--out", "two")
    ended = torchrun("unequal.py", "train", config, *given, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first[:2] == [5, 1]
    before_steps(monkeypatch, lambda number, samples: samples.x.fill_(float("nan")) if number == 3 else None)
    train(config, [str(pictures)], tmp_path / "one", "cpu")
    assert_same_states(tmp_path / "one" / "state.pt", tmp_path / "two" / "state.pt", 6, tolerance=1e-3)
