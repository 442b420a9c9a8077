"""The summary's overview, its sentences and its files, from results written by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from report_cases import row, write_rows

from invsolve.bench.export import write_csv, write_latex
from invsolve.bench.statistics import read_benchmark, treatment
from invsolve.bench.summary import overview, winners, write_markdown, write_summary
from invsolve.cli import main

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


def test_the_most_memory_of_a_method_is_shown_where_it_is_known(folder):
    assert "MB" not in write_markdown(folder).read_text().splitlines()[-8]
    rows = [row("a", "x", str(i), memory=memory) for i, memory in enumerate((2_000_000, 7_000_000))]
    write_rows(folder, [*rows, row("a", "y", "0")])
    lines = write_markdown(folder).read_text().splitlines()
    assert [line.split(" | ")[-2:] for line in lines[-4:]] == [
        ["MB", "Images |"],
        ["---", "--- |"],
        ["7", "2 |"],
        ["n/a", "1 |"],
    ]
    entries = json.loads(write_summary(folder).read_text())["entries"]
    assert [entry.get("memory") for entry in entries] == [7_000_000, None]


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({}, None),
        ({"sizes": {"32x32": 2}, "options": {"size": None}}, "Pictures: 2 of 32x32 pixels, restored whole."),
        ({"sizes": {"32x32": 2}, "options": {"size": 32, "reduce": 1}}, "Pictures: 2 of 32x32 pixels, restored whole."),
        (
            {"sizes": {"768x512": 24}, "options": {"size": 256, "reduce": 2}},
            "Pictures: 24 of 768x512 pixels, averaged over blocks of 2x2, of each the central 256x256.",
        ),
        (
            {"sizes": {"481x321": 1, "321x481": 3}, "cut": {"sr4x": {"481x321": "480x320", "321x481": "320x480"}}},
            "Pictures: 3 of 321x481, 1 of 481x321 pixels, restored whole. At sr4x the right and bottom edges were cut "
            "off: 480x320 of 481x321, 320x480 of 321x481.",
        ),
        (
            {"sizes": {f"{i}x9": 1 for i in range(10, 18)}},
            "Pictures: 1 of 10x9, 1 of 11x9, 1 of 12x9, 1 of 13x9, 1 of 14x9, 1 of 15x9, 2 of other sizes pixels, "
            "restored whole.",
        ),
    ],
)
def test_what_was_done_to_the_pictures_is_said(run, said, folder):
    assert treatment(run) == said
    (folder / "run.json").write_text(json.dumps(run))
    assert (write_markdown(folder).read_text().splitlines()[0] == said) == (said is not None)


def test_all_means_are_in_a_csv_file(folder):
    path = folder / "summary.csv"
    assert write_csv(folder) == path
    with path.open() as file:
        lines = list(csv.DictReader(file))
    entries = json.loads(write_summary(folder).read_text())["entries"]
    assert [(line["task"], line["method"]) for line in lines] == [(e["task"], e["method"]) for e in entries]
    for line, entry in zip(lines, entries, strict=True):
        for name in ("psnr", "lpips", "lpips_behind"):
            expected = entry.get(name) or {"mean": None, "half": None}
            for key, value in {name: expected["mean"], f"{name}_half": expected["half"]}.items():
                assert line[key] == ("" if value is None else str(value))
        assert (line["ssim"], line["seconds"], line["images"]) == ("", "1.5", "2")


def test_the_latex_table_marks_the_best_and_what_may_be_as_good(folder):
    """At sr4x ncvsd's differences from dps are 0 and 0.1: an interval that holds 0."""
    text = write_latex(folder).read_text()
    table = [line for line in text.splitlines() if not line.startswith("%")]
    assert table == [
        r"\begin{tabular}{lcc}",
        r"\toprule",
        r"Method & sr4x & denoise \\",
        r"\midrule",
        r"baseline & 21.00 / 0.450$^\approx$ & \textbf{21.00 / 0.200} \\",
        r"ncvsd & 21.00 / 0.150$^\approx$ & 21.00 / 0.300 \\",
        r"dps & \textbf{21.00 / 0.100} & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    write_rows(folder, [row("deblur_motion", "baseline:richardson_lucy", "0")])
    assert r"baseline:richardson\_lucy & 25.00 / 0.200 \\" in write_latex(folder).read_text()


def test_the_command_writes_the_format_asked_for(folder, capsys):
    for name, file in {"csv": "summary.csv", "latex": "summary.tex", "html": "report.html"}.items():
        assert main(["report", str(folder), "--format", name]) == 0
        assert capsys.readouterr().out == f"wrote {folder / file}\n"
        assert (folder / file).is_file()
