"""The figures of a benchmark for other programs: a CSV file of all means, a LaTeX table for a paper."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ..images.files import write_atomically
from .statistics import COLUMNS, SPREAD, Benchmark, Entry, Mean, behind, best, chance, read_benchmark

SPECIAL = str.maketrans({character: f"\\{character}" for character in "_%&#$"})  # in LaTeX
HEADER = r"""
% Needs \usepackage{booktabs}. PSNR in dB / LPIPS, means over the pictures; bold: the lowest LPIPS of the task,
% $^\approx$: behind it by what may be chance (95 % interval of the differences on the same pictures).
""".strip()


def write_csv(directory: Path) -> Path:
    """Write ``summary.csv``: a line per task and method, means and half-widths of their 95 % intervals.

    ``*_behind`` is the mean difference from the task's best on the same pictures, empty for the best itself. Raises
    ValueError where the directory has no results.
    """
    lines = [line for entries in read_benchmark(directory).tasks.values() for line in _lines(entries)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(dict.fromkeys(name for line in lines for name in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return _write(directory / "summary.csv", buffer.getvalue())


def write_latex(directory: Path) -> Path:
    """Write ``summary.tex``, :func:`latex`. Raises ValueError where the directory has no results."""
    return _write(directory / "summary.tex", latex(read_benchmark(directory)))


def latex(benchmark: Benchmark) -> str:
    """PSNR / LPIPS of every method at every task, a table in the manner of booktabs."""
    leaders = {task: best(entries, "lpips") for task, entries in benchmark.tasks.items()}
    level = {
        task: {method for method, lag in behind(entries, "lpips").items() if chance(lag)}
        for task, entries in benchmark.tasks.items()
    }
    rows = []
    for method in benchmark.methods:
        cells = [method.translate(SPECIAL)]
        for task, entries in benchmark.tasks.items():
            entry = next((entry for entry in entries if entry.method == method), None)
            cells.append("--" if entry is None else _cell(entry, method == leaders[task], method in level[task]))
        rows.append(" & ".join(cells) + r" \\")
    heading = " & ".join(["Method", *(task.translate(SPECIAL) for task in benchmark.tasks)]) + r" \\"
    columns = "l" + "c" * len(benchmark.tasks)
    lines = [HEADER, rf"\begin{{tabular}}{{{columns}}}", r"\toprule", heading, r"\midrule", *rows, r"\bottomrule"]
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"


def _cell(entry: Entry, leads: bool, level: bool) -> str:
    decimals = {name: digits for name, _, digits in COLUMNS}
    means = [(entry.scores[name], decimals[name]) for name in ("psnr", "lpips")]
    text = " / ".join("--" if mean is None else f"{mean.value:.{digits}f}" for mean, digits in means)
    return rf"\textbf{{{text}}}" if leads else text + (r"$^\approx$" if level else "")


def _lines(entries: tuple[Entry, ...]) -> list[dict[str, object]]:
    lags = {name: behind(entries, name) for name, _, _ in COLUMNS}
    lines = []
    for entry in entries:
        line: dict[str, object] = {"task": entry.task, "method": entry.method, "images": len(entry.rows)}
        line |= {"evaluations": entry.evaluations, "seconds": entry.seconds, "memory": entry.memory}
        for name, _, _ in COLUMNS:
            line |= _with_half(name, entry.scores[name])
            line |= _with_half(f"{name}_behind", lags[name].get(entry.method))
        for name, mean in entry.further.items():
            line |= _with_half(name, mean)
        for name, _, _ in SPREAD:
            line |= _with_half(name, entry.spread[name]) if entry.spread[name] else {}
        lines.append(line)
    return lines


def _with_half(name: str, mean: Mean | None) -> dict[str, float | None]:
    return {name: mean and mean.value, f"{name}_half": mean and mean.half}


def _write(path: Path, text: str) -> Path:
    write_atomically(path, lambda file: file.write(text.encode()))
    return path
