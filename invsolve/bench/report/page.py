"""The benchmark's report: one HTML file that holds all it shows and needs no network.

``page.html`` is the page, a Jinja template with its tables and captions; here is what it shows.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from ...images.files import STD_WHITE, write_atomically
from ..statistics import COLUMNS, FEW, SPREAD, Benchmark, Entry, behind, best, chance, option, read_benchmark, treatment
from ..summary import megabytes
from .pictures import BIG, QUALITY, read_pictures
from .plots import Look, calibration_plot, cost_plot, family_looks

# options above the fold, where the run has them
SHOWN = ("data", "prior", "denoiser", "steps", "samples", "size", "seed", "device", "batch")
INITIAL = "ncvsd"  # the method first shown in the slider, where there is one
SHORT = 8  # methods: a table of no more has the plots below it, not beside it


def write_report(directory: Path) -> Path:
    """Write ``report.html`` into a benchmark directory, finished or not, and return its path.

    ValueError where the directory has no results, or one of its files is broken.
    """
    path = directory / "report.html"
    text = render(read_benchmark(directory))
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


@functools.cache
def template() -> Template:
    """The page, compiled once."""
    loader = PackageLoader(__package__, "")
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.globals |= {"breakable": breakable, "seconds": seconds, "megabytes": megabytes}
    page.globals |= {"COLUMNS": COLUMNS, "SPREAD": SPREAD, "STD_WHITE": STD_WHITE, "FEW": FEW}
    page.globals |= {"BIG": BIG, "QUALITY": QUALITY, "SHORT": SHORT}
    return page.get_template("page.html")


def render(benchmark: Benchmark) -> str:
    """The whole page."""
    looks = family_looks(benchmark)
    tasks = enumerate(benchmark.tasks.values())
    return template().render(
        benchmark=benchmark,
        looks=looks,
        sections=[section(benchmark.directory, f"task-{i}", entries, looks) for i, entries in tasks],
        progress=" ".join(filter(None, [progress(benchmark), treatment(benchmark.run)])),
        facts={name: brief(value) for name in SHOWN if (value := option(benchmark.run, name)) is not None},
        record=json.dumps(benchmark.run, indent=2, ensure_ascii=False),
    )


def section(directory: Path, anchor: str, entries: Sequence[Entry], looks: Mapping[str, Look]) -> dict[str, Any]:
    """One task: figures, plots, pictures and, of samples, the uncertainty."""
    plots = {
        "LPIPS against network evaluations": ("evaluations", "network evaluations per image"),
        "LPIPS against time": ("seconds", "seconds per image"),
    }
    plots = {title: cost_plot(entries, looks, *cost, anchor) for title, cost in plots.items()}
    return {
        "anchor": anchor,
        "task": entries[0].task,
        "entries": entries,
        "memory": any(entry.memory for entry in entries),
        "full": max(len(entry.rows) for entry in entries),
        "marks": {key: marks(entries, key) for key, _, _ in COLUMNS},
        "plots": {title: plot for title, plot in plots.items() if plot},
        "grids": read_pictures(directory, entries),
        "right": next((entry.method for entry in entries if entry.method == INITIAL), entries[0].method),
        "sampled": [entry for entry in entries if entry.spread["samples"]],
        "calibration": calibration_plot(entries, looks, anchor),
    }


def progress(benchmark: Benchmark) -> str:
    """What was run, in a sentence, and whether it is complete as far as one can see."""
    rows = [row for entries in benchmark.tasks.values() for entry in entries for row in entry.rows]
    images = (option(benchmark.run, "images") or {}).get("count") or len({row["image"] for row in rows})
    tasks = option(benchmark.run, "tasks") or benchmark.tasks
    methods = option(benchmark.run, "methods") or benchmark.methods
    wanted = images * pairs(benchmark.run, len(tasks) * len(methods))
    counts = ((images, "picture"), (len(tasks), "task"), (len(methods), "method"))
    said = ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
    return f"{said}." + (f" Unfinished: {len(rows)} of {wanted} results." if len(rows) < wanted else "")


def pairs(run: Mapping[str, Any], unless: int) -> int:
    """How many pairs of method and task a run is of, by its definitions; ``unless`` it has none."""
    found = option(run, "definitions")
    return sum(len(tasks) for tasks in found.values()) if isinstance(found, Mapping) else unless


def brief(value: Any) -> str:
    """A value of run.json in a line: of a record its name, or what is in it."""
    if isinstance(value, Mapping):
        return str(value["name"]) if "name" in value else ", ".join(f"{k} {brief(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(brief, value))
    return str(value)


def marks(entries: Sequence[Entry], metric: str) -> dict[str, str]:
    """The classes of a task's cells, by method: the best, what may be as good, the best within a small budget."""
    groups = {
        "best": [best(entries, metric)],
        "level": [method for method, lag in behind(entries, metric).items() if chance(lag)],
        "best-few": [best(entries, metric, FEW)],
    }
    methods = [entry.method for entry in entries]
    return {method: " ".join(name for name, group in groups.items() if method in group) for method in methods}


def breakable(name: str) -> Markup:
    """A name that may be broken where its words end."""
    return Markup(re.sub("([_-])", r"\1<wbr>", str(escape(name))))


def seconds(value: float) -> str:
    """Three figures, and none behind the point beyond 100."""
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 2
    return f"{value:.{min(max(digits, 0), 3)}f}"
