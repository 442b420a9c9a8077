"""The summary's overview, its sentences and its files, from results written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_cases import row, write_rows

from invsolve.bench.statistics import read_benchmark
from invsolve.bench.summary import overview, winners, write_markdown, write_summary

# method: evaluations, LPIPS of two images at sr4x, at denoise
METHODS = {
    "baseline": (0, (0.4, 0.5), (0.2, 0.2)),
    "ncvsd": (4, (0.1, 0.2), (0.3, 0.3)),
    "dps": (1000, (0.1, 0.1), ()),
}


@pytest.fixture
def folder(tmp_path) -> Path:
    rows = [
        row(task, method, str(i), evaluations=cost, lpips=lpips, psnr=20.0 + 2 * i, seconds=1 + i, ssim=None)
        for method, (cost, *tasks) in METHODS.items()
        for task, scores in zip(("sr4x", "denoise"), tasks, strict=True)
        for i, lpips in enumerate(scores)
    ]
    write_rows(tmp_path, rows)
    return tmp_path


def test_the_overview_marks_the_best_of_few_evaluations_and_of_all(folder):
    assert overview(read_benchmark(folder)).splitlines() == [
        "| Method | Evaluations | sr4x | denoise |",
        "| --- | --- | --- | --- |",
        "| baseline | 0 | 21.00 / 0.450 | **21.00 / 0.200** |",
        "| ncvsd | 4 | **21.00 / 0.150** | 21.00 / 0.300 |",
        "| dps | 1000 | 21.00 / 0.100 † | – |",
    ]


def test_evaluations_that_differ_between_tasks_are_a_range(tmp_path):
    write_rows(tmp_path, [row(f"task{cost}", "pnpdm:6", "0", evaluations=cost) for cost in (20, 15, 18)])
    assert overview(read_benchmark(tmp_path)).splitlines()[-1].startswith("| pnpdm:6 | 15 to 20 | ")


def test_who_is_best_is_said_in_words(folder):
    assert winners(read_benchmark(folder)) == [
        "Lowest mean LPIPS of the methods of at most 20 evaluations, of 2 tasks: "
        "ncvsd at 1 (sr4x); baseline at 1 (denoise). Behind by what may be chance: none.",
        "Lowest mean LPIPS of all methods, of 2 tasks: dps at 1 (sr4x); baseline at 1 (denoise). "
        "Behind by what may be chance: baseline, ncvsd at sr4x.",
    ]


def test_intervals_are_those_of_student(folder):
    """Of 0.1 and 0.2: mean 0.15, standard error 0.05, and t_{0.975, 1} = tan(0.475 pi) = 12.7062."""
    entries = json.loads(write_summary(folder).read_text())["entries"]
    entry = next(e for e in entries if (e["task"], e["method"]) == ("sr4x", "ncvsd"))
    assert entry["lpips"] == pytest.approx({"mean": 0.15, "half": 12.7062 * 0.05}, rel=1e-5)
    assert entry["psnr"] == pytest.approx({"mean": 21.0, "half": 12.7062}, rel=1e-5)
    assert entry["lpips_behind"] == pytest.approx({"mean": 0.05, "half": 12.7062 * 0.05}, rel=1e-5)  # 0 and 0.1
    assert [e["method"] for e in entries if "lpips_behind" not in e] == ["dps", "baseline"]
    assert (entry["ssim"], entry["seconds"], entry["images"]) == (None, 1.5, 2)
    line = "| sr4x | ncvsd | 4 | 21.00 ± 12.71 | n/a | 0.150 ± 0.635 | 0.0500 ± 0.6353 | 1.5 | 2 |"
    assert line in write_markdown(folder).read_text().splitlines()


def test_results_without_their_cost_are_summarised(tmp_path):
    write_rows(tmp_path, [row("a", "x", "1", evaluations=None, seconds=None)])
    lines = write_markdown(tmp_path).read_text().splitlines()
    assert "| x | n/a | 25.00 / 0.200 |" in lines
    assert "| a | x | n/a | 25.00 | 0.800 | 0.200 | – | n/a | 1 |" in lines
    assert json.loads(write_summary(tmp_path).read_text())["entries"][0]["seconds"] is None
