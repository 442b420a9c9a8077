"""Means and intervals over the images of a benchmark: ``summary.json`` and ``summary.md``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from ..images.files import write_atomically
from ..runtime.printing import counted
from .statistics import COLUMNS, FEW, SPREAD, Benchmark, Entry, Mean, behind, best, chance, read_benchmark, treatment
from .store import Pair

INTERVAL = "95 % interval of the mean over the images, by Student's t"

LEGEND = (
    f"Means, ± half of the {INTERVAL}. LPIPS behind the best: mean of the differences on the same pictures from the "
    "method of the task's lowest mean LPIPS. Seconds: per image. MB: the most memory in use at a time, networks "
    "included; on a CPU that of the whole process."
)
MEGABYTE = 1e6

Fids = Mapping[Pair, float]  # Fréchet distances, where they were asked for
NO_FIDS: Fids = {}


def write_summary(folder: Path, fids: Fids = NO_FIDS) -> Path:
    """Write ``summary.json``: for each task and method the means over its images, with their intervals.

    Per restored picture: ``evaluations``, ``seconds``, ``psnr``, ``ssim``, ``lpips``, and of several samples
    ``psnr_mean``, ``psnr_std``, ``lpips_std``, ``spearman``, ``within`` (see ``scores.py``), ``calibration`` of all;
    ``memory``, the most bytes in use at a time, where it is known; further measures that were asked for, and ``fids``.
    ``lpips_behind`` is the difference from the lowest LPIPS of the task on the same pictures (see ``behind``).
    """
    entries = []
    for rivals in read_benchmark(folder).tasks.values():
        lags = behind(rivals, "lpips")
        entries += [_summary(entry, lags.get(entry.method), fids) for entry in rivals]
    text = json.dumps({"interval": INTERVAL, "entries": entries}, indent=2, allow_nan=False) + "\n"
    write_atomically(folder / "summary.json", lambda file: file.write(text.encode()))
    return folder / "summary.json"


def write_markdown(folder: Path, fids: Fids = NO_FIDS) -> Path:
    """Write ``summary.md``: the overview, who is best, and the table of all figures."""
    benchmark = read_benchmark(folder)
    legend = f"PSNR in dB / LPIPS; in bold the lowest mean LPIPS of the methods of at most {FEW} evaluations"
    legend += ", † the lowest of all where another has it."
    sizes = treatment(benchmark.run)
    blocks = [
        *([sizes] if sizes else []),
        legend,
        overview(benchmark),
        *winners(benchmark),
        LEGEND,
        table(benchmark, fids),
    ]
    write_atomically(folder / "summary.md", lambda file: file.write(("\n\n".join(blocks) + "\n").encode()))
    return folder / "summary.md"


def overview(benchmark: Benchmark) -> str:
    """PSNR / LPIPS of every method at every task; bold: the lowest LPIPS of at most 20 evaluations, †: of all."""
    tasks = benchmark.tasks.values()
    leaders = [(best(entries, "lpips", FEW), best(entries, "lpips")) for entries in tasks]
    lines = [["Method", "Evaluations", *benchmark.tasks]]
    for method in benchmark.methods:
        found = [next((entry for entry in entries if entry.method == method), None) for entries in tasks]
        costs = sorted({entry.evaluations for entry in found if entry and entry.evaluations is not None})
        cost = " to ".join(_number(value) for value in dict.fromkeys([*costs[:1], *costs[-1:]])) or "n/a"
        lines.append([method, cost, *(_pair(entry, *names) for entry, names in zip(found, leaders, strict=True))])
    return _markdown(lines)


def winners(benchmark: Benchmark) -> list[str]:
    """For each budget who has the lowest mean LPIPS at which tasks, and whose lag may be chance; none of one method."""
    sentences = []
    for budget, words in ((FEW, f"the methods of at most {FEW} evaluations"), (math.inf, "all methods")):
        tasks: dict[str, list[str]] = {}
        level: list[str] = []
        for task, entries in benchmark.tasks.items():
            winner = best(entries, "lpips", budget)
            if winner is not None:
                tasks.setdefault(winner, []).append(task)
                tied = [method for method, lag in behind(entries, "lpips", budget).items() if chance(lag)]
                level += [f"{', '.join(tied)} at {task}"] if tied else []
        if tasks:
            total = sum(map(len, tasks.values()))
            said = "; ".join(f"{method} at {len(names)} ({', '.join(names)})" for method, names in tasks.items())
            sentences.append(
                f"Lowest mean LPIPS of {words}, of {counted(total, 'task')}: {said}. "
                f"Behind by what may be chance: {'; '.join(level) or 'none'}."
            )
    return sentences


def table(benchmark: Benchmark, fids: Fids = NO_FIDS) -> str:
    """Every figure, ``±`` half of the 95 % interval; with samples also what they say of the uncertainty."""
    entries = [entry for entries in benchmark.tasks.values() for entry in entries]
    lags = {task: behind(entries, "lpips") for task, entries in benchmark.tasks.items()}
    spread = [column for column in SPREAD if column[0] != "samples" and any(e.spread[column[0]] for e in entries)]
    further = [(name, name.upper(), 3) for name in (entries[0].further if entries else ())]
    columns = [*COLUMNS, *further, *spread]
    headings = ["Task", "Method", "Evaluations", *(heading for _, heading, _ in columns)]
    measured = any(entry.memory for entry in entries)
    lines = [
        [
            *headings,
            *(["FID"] if fids else []),
            "LPIPS behind the best",
            "Seconds",
            *(["MB"] if measured else []),
            "Images",
        ]
    ]
    for entry in entries:
        means = entry.scores | entry.spread | entry.further
        figures = [_mean(means[name], decimals) for name, _, decimals in columns]
        lag = lags[entry.task].get(entry.method)
        behind_best = _mean(lag, 4) if lag else "–"
        costs = _number(entry.evaluations), _number(entry.seconds, 3)
        memory = [megabytes(entry.memory)] if measured else []
        lines.append(
            [entry.task, entry.method, costs[0], *figures, behind_best, costs[1], *memory, str(len(entry.rows))]
        )
    return _markdown(lines)


def _summary(entry: Entry, lag: Mean | None, fids: Fids) -> dict:
    figures = {"task": entry.task, "method": entry.method, "images": len(entry.rows)}
    figures |= {"steps": entry.rows[0].get("steps"), "evaluations": entry.evaluations, "seconds": entry.seconds}
    figures |= {"memory": entry.memory} if entry.memory else {}
    figures |= {"fid": fids[entry.task, entry.method]} if (entry.task, entry.method) in fids else {}
    means = (
        entry.scores | entry.further | {name: mean for name, mean in entry.spread.items() if mean and name != "samples"}
    )
    means |= {"lpips_behind": lag} if lag else {}
    figures |= {name: mean and {"mean": mean.value, "half": mean.half} for name, mean in means.items()}
    if entry.calibration:
        figures |= {"samples": entry.rows[0]["samples"], "calibration": entry.calibration}
    return figures


def megabytes(value: float | None) -> str:
    return "n/a" if value is None else f"{value / MEGABYTE:.0f}"


def _mean(mean: Mean | None, decimals: int) -> str:
    return "n/a" if mean is None else mean.text(decimals)


def _number(value: float | None, digits: int = 6) -> str:
    return "n/a" if value is None else f"{value:.{digits}g}"


def _pair(entry: Entry | None, few: str | None, every: str | None) -> str:
    """``26.47 / 0.150``: PSNR and LPIPS, marked where the method is the best of few evaluations or of all."""
    if entry is None:
        return "–"
    means = ((entry.scores["psnr"], 2), (entry.scores["lpips"], 3))
    pair = " / ".join("n/a" if mean is None else f"{mean.value:.{decimals}f}" for mean, decimals in means)
    return f"**{pair}**" if entry.method == few else f"{pair} †" if entry.method == every else pair


def _markdown(lines: list[list[str]]) -> str:
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
