"""Processes that share the pictures of a benchmark measure what one does, and a gap that one leaves is filled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench_cases import assert_same_figures, figures

pytestmark = pytest.mark.usefixtures("one_thread")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_two_processes_of_torchrun_measure_as_one(bench, undisturbed):
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "invsolve"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [*start, *bench.arguments("two", "--batch", 2)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("| Task | Method |") == 1
    assert names(bench.folder / "two") == names(undisturbed)
    assert_same_figures(bench.folder / "two", undisturbed)


@pytest.fixture
def run_as(bench, monkeypatch):
    """Run the benchmark in this process as if torchrun had started it as one of several."""

    def run(rank: int, count: int, out: str) -> None:
        variables = {"TORCHELASTIC_RUN_ID": "test", "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count}
        for variable, value in variables.items():
            monkeypatch.setenv(variable, str(value))
        bench(out)

    return run


def test_three_processes_measure_as_one(bench, undisturbed, run_as, capsys):
    """In turn, so that each of them but the last finds that others still have work."""
    for rank in (2, 0, 1):
        run_as(rank, 3, "three")
    said = capsys.readouterr().out
    assert ("24 of 30" in said, "12 of 30" in said) == (True, True)
    assert said.count("| Task | Method |") == 1
    assert names(bench.folder / "three") == names(undisturbed)
    assert_same_figures(bench.folder / "three", undisturbed, tolerance=0)

    run_as(1, 3, "three")  # nothing is missing: the first process alone tells the result
    assert "| Task" not in capsys.readouterr().out
    run_as(0, 3, "three")
    assert "| Task" in capsys.readouterr().out


def test_a_process_that_died_leaves_a_gap_which_another_number_of_processes_fills(bench, undisturbed, run_as):
    """Of three processes the last two never run; what the first did is kept, and one process does the rest."""
    out = bench.folder / "gap"
    run_as(0, 3, "gap")
    assert names(out) == ["pictures", "results.rank0.jsonl", "run.json"]
    assert {key[2] for key in figures(out)} == {"00000", "00003"}
    kept = (out / "results.rank0.jsonl").read_text().splitlines()

    run_as(0, 1, "gap")
    assert names(out) == names(undisturbed)
    assert set(kept) <= set((out / "results.jsonl").read_text().splitlines())
    assert_same_figures(out, undisturbed, tolerance=0)
