"""``benchmarks/evaluations.py``: its verdicts on made-up figures, and a run on tiny networks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from bench_cases import SIZE, make_bench
from benchmark_scripts import load_script

from invsolve.bench.statistics import read_benchmark

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def script():
    return load_script("evaluations")


def made_up(folder: Path, lpips: dict[str, tuple[float, float]], **more: float) -> Path:
    """Results of two pictures at one task."""
    folder.mkdir()
    rows = [
        {"task": "sr4x", "method": method, "image": str(i), "evaluations": 4, "seconds": 1, "lpips": value} | more
        for method, values in lpips.items()
        for i, value in enumerate(values)
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_ratios_of_means_decide(script, tmp_path):
    teachers = {"teacher:4": (0.3, 0.5), "teacher:20": (0.2, 0.3), "teacher-diffusion:5": (0.26, 0.26)}
    good = {"ncvsd:4": (0.1, 0.3), "ncvsd:16": (0.15, 0.25), **teachers}
    lines = script.comparisons(read_benchmark(made_up(tmp_path / "good", good)))
    assert lines == [
        "sr4x: LPIPS of ncvsd:4 over teacher:4 0.50, teacher:20 0.80, teacher-diffusion:5 0.77: holds",
        "sr4x: LPIPS of ncvsd:4 over ncvsd:16 1.00: holds",
    ]
    some = {method: good[method] for method in ("ncvsd:4", "teacher:20")}
    (line,) = script.comparisons(read_benchmark(made_up(tmp_path / "some", some)))
    assert line == "sr4x: LPIPS of ncvsd:4 over teacher:20 0.80: holds"
    bad = {**good, "ncvsd:4": (0.25, 0.26), "ncvsd:16": (0.23, 0.23)}
    lines = script.comparisons(read_benchmark(made_up(tmp_path / "bad", bad)))
    assert lines[0].endswith("teacher:20 1.02, teacher-diffusion:5 0.98: FAILS")
    assert lines[1].endswith("1.11: FAILS")


@pytest.mark.parametrize(("spearman", "mean", "holds"), [(0.6, 27, True), (0.4, 27, False), (0.6, 25, False)])
def test_calibration_needs_both(script, tmp_path, spearman, mean, holds):
    more = {"spearman": spearman, "psnr_mean": mean, "psnr": 26}
    (line,) = script.calibration(read_benchmark(made_up(tmp_path / "a", {"ncvsd:4": (0.1, 0.2)}, **more)))
    assert line.endswith("holds" if holds else "FAILS")
    assert f"error {spearman:.2f}, PSNR of the mean {mean:.2f}, of one sample 26.00" in line


@pytest.mark.slow
def test_it_measures_and_resumes(script, tiny_prior, tmp_path, monkeypatch, capsys):
    cases = make_bench(tmp_path, tiny_prior, 2)
    arguments = ["evaluations.py", "--data", cases.pictures, "--out", tmp_path / "out", "--tasks", "denoise", "sr4x"]
    arguments += ["--prior", cases.prior, "--teacher", tmp_path / "denoiser.safetensors", "--size", SIZE]
    arguments += ["--lpips-trunk", tmp_path / "trunk.safetensors", "--samples", 3, "--device", "cpu"]
    arguments += ["--evaluations", 1, 4, 16]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
    script.main()
    printed = capsys.readouterr().out
    lines = [line.split(" | ")[:2] for line in printed.splitlines() if line.startswith("| ")]
    expected = {
        "ncvsd:1": 1,
        "ncvsd:4": 4,
        "ncvsd:16": 16,
        "teacher:4": 4,
        "teacher:20": 20,
        "teacher-diffusion:5": 100,
    }
    assert lines[2:] == [[f"| {method}", str(number)] for method, number in expected.items()]
    assert printed.count("Spearman") == 2
    before = (tmp_path / "out" / "table" / "results.jsonl").read_bytes()
    script.main()
    assert capsys.readouterr().out == printed
    assert (tmp_path / "out" / "table" / "results.jsonl").read_bytes() == before
