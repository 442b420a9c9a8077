"""The benchmark's report: one HTML file that holds all it shows and needs no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from ...images.files import write_atomically
from ..statistics import FEW, Benchmark, Entry, option, read_benchmark
from .pictures import BIG, QUALITY, gallery
from .plots import calibration_plots, cost_plots, number_families
from .tables import overview, spread_table, task_table

# options above the fold, where the run has them
SHOWN = ("data", "prior", "denoiser", "steps", "samples", "size", "seed", "device", "batch")
SHORT = 8  # methods: a table of no more has the plots below it, not beside it


def write_report(directory: Path) -> Path:
    """Write ``report.html`` into a benchmark directory, finished or not, and return its path.

    ValueError where the directory has no results, or one of its files is broken.
    """
    path = directory / "report.html"
    text = render(read_benchmark(directory))
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def render(benchmark: Benchmark) -> str:
    """The whole page."""
    numbers = number_families(benchmark)
    links = "".join(f'<a href="#task-{i}">{escape(task)}</a>' for i, task in enumerate(benchmark.tasks))
    sections = (
        task_section(benchmark.directory, i, task, entries, numbers)
        for i, (task, entries) in enumerate(benchmark.tasks.items())
    )
    return Template(asset("page.html")).substitute(
        title=escape(f"invsolve benchmark: {', '.join(benchmark.tasks)}"),
        style=asset("page.css"),
        script=asset("page.js"),
        summary=escape(summary(benchmark)),
        facts=facts(benchmark.run),
        record=record(benchmark.run),
        links=links,
        overview=overview(benchmark, numbers),
        few=FEW,
        sections="".join(sections),
        big=BIG // 1024,
        quality=QUALITY,
    )


def asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def summary(benchmark: Benchmark) -> str:
    """What was run, in a sentence, and whether it is complete as far as one can see."""
    rows = [row for entries in benchmark.tasks.values() for entry in entries for row in entry.rows]
    images = (option(benchmark.run, "images") or {}).get("count") or len({row["image"] for row in rows})
    tasks, methods = (
        option(benchmark.run, "tasks") or benchmark.tasks,
        option(benchmark.run, "methods") or benchmark.methods,
    )
    wanted = len(tasks) * len(methods) * images
    counts = (plural(images, "picture"), plural(len(tasks), "task"), plural(len(methods), "method"))
    missing = f" Unfinished: {len(rows)} of {wanted} results." if len(rows) < wanted else ""
    return f"{', '.join(counts)}.{missing}"


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def facts(run: Mapping[str, Any]) -> str:
    """The main options as a definition list."""
    items = [(name, option(run, name)) for name in SHOWN]
    return "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(brief(value))}</dd></div>"
        for name, value in items
        if value is not None
    )


def brief(value: Any) -> str:
    """A value of run.json in a line: of a record its name, or what is in it."""
    if isinstance(value, Mapping):
        return str(value["name"]) if "name" in value else ", ".join(f"{k} {brief(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(brief, value))
    return str(value)


def record(run: Mapping[str, Any]) -> str:
    """All of run.json, folded."""
    if not run:
        return ""
    text = escape(json.dumps(run, indent=2, ensure_ascii=False))
    return f"<details><summary>Full record of the run</summary><pre>{text}</pre></details>"


def task_section(directory: Path, index: int, task: str, entries: Sequence[Entry], numbers: Mapping[str, int]) -> str:
    """One task: figures, plots, pictures and, of samples, the uncertainty."""
    plots = [
        (
            "LPIPS against network evaluations",
            cost_plots(entries, numbers, "evaluations", "network evaluations per image"),
        ),
        ("LPIPS against time", cost_plots(entries, numbers, "seconds", "seconds per image")),
    ]
    figures = "".join(f"<figure><h4>{title}</h4>{plot}</figure>" for title, plot in plots if plot)
    beside = f'<div class="plots">{figures}</div>' if figures else ""
    short = " short" if len(entries) <= SHORT else ""
    parts = [f'<div class="figures{short}">{task_table(entries, numbers)}{beside}</div>']
    pictures = gallery(directory, entries, numbers)
    if pictures:
        parts.append(f"<h3>Pictures</h3>{pictures}")
    spread, calibration = spread_table(entries, numbers), calibration_plots(entries, numbers)
    if spread or calibration:
        plot = f"<figure><h4>Error against predicted deviation</h4>{calibration}</figure>" if calibration else ""
        parts.append(f'<h3>Uncertainty</h3><div class="uncertainty">{plot}<div>{spread}{SPREAD_NOTE}</div></div>')
    name = f"task-{index}"
    head = f'<h2 id="{name}-h">{escape(task)}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-h">{head}{"".join(parts)}</section>'


SPREAD_NOTE = (
    '<p class="note">Pixels are sorted into bins by the deviation that K samples predict, √(1 + 1/K) times their own; '
    "the plot shows it and the root mean square error of the samples’ mean, bin by bin. Above the diagonal the samples "
    "differ too little, below it too much. Spearman: rank correlation of predicted deviation and absolute error.</p>"
)
