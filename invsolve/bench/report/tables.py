"""The report's tables: the overview of LPIPS, the figures of each task, and those of its samples."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape

from ..statistics import COLUMNS, FEW, SPREAD, Benchmark, Entry, Mean, best, chance, difference
from .pictures import swatch
from .plots import family

COST_HEADS = ("Evals", "Seconds")
ABSENT = '<span class="absent">–</span>'


def overview(benchmark: Benchmark, numbers: Mapping[str, int]) -> str:
    """Mean LPIPS of every method on every task, the best of each task marked."""
    heads = "".join(
        f'<th scope="col"><a href="#task-{i}">{breakable(task)}</a></th>' for i, task in enumerate(benchmark.tasks)
    )
    lines = []
    for method in benchmark.methods:
        cells = []
        for entries in benchmark.tasks.values():
            entry = next((entry for entry in entries if entry.method == method), None)
            mean = entry and entry.scores["lpips"]
            cells.append(score_cell(mean, 3, mark(entries, method, "lpips"), interval=False))
        lines.append(f"<tr>{method_cell(method, numbers)}{''.join(cells)}</tr>")
    head = f'<tr><th scope="col">Method</th>{heads}</tr>'
    return wrap(f'<table class="overview"><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table>', "Mean LPIPS")


def task_table(entries: Sequence[Entry], numbers: Mapping[str, int]) -> str:
    """A task's methods: evaluations and seconds per image, PSNR, SSIM and LPIPS with their 95 % intervals."""
    full = max(len(entry.rows) for entry in entries)
    heads = ["Method", *COST_HEADS, *(name for _, name, _ in COLUMNS)]
    lines = []
    for entry in entries:
        cells = [cost_cell(entry.evaluations, "{:.10g}"), cost_cell(entry.seconds, seconds_format(entry.seconds))]
        cells += [
            score_cell(entry.scores[key], decimals, mark(entries, entry.method, key)) for key, _, decimals in COLUMNS
        ]
        count = len(entry.rows)
        note = "" if count == full else f'<span class="few">{count} of {full} pictures</span>'
        lines.append(f"<tr>{method_cell(entry.method, numbers, cost(entry) + note)}{''.join(cells)}</tr>")
    return wrap(sortable(heads, lines), "Figures per method")


def spread_table(entries: Sequence[Entry], numbers: Mapping[str, int]) -> str:
    """What the samples of each method say of its uncertainty; empty without samples."""
    drawn = [entry for entry in entries if entry.spread["samples"]]
    if not drawn:
        return ""
    lines = []
    for entry in drawn:
        cells = [score_cell(entry.spread[key], decimals, "", decimals > 0) for key, _, decimals in SPREAD]
        lines.append(f"<tr>{method_cell(entry.method, numbers)}{''.join(cells)}</tr>")
    return wrap(sortable(["Method", *(name for _, name, _ in SPREAD)], lines), "Samples per method")


def mark(entries: Sequence[Entry], method: str, metric: str) -> str:
    """The class of a cell that holds the best of its task, what may be as good, or the best within a small budget."""
    classes = []
    winner = best(entries, metric)
    by_name = {entry.method: entry for entry in entries}
    if winner == method:
        classes.append("best")
    elif winner and method in by_name:
        lag = difference(by_name[method], by_name[winner], metric)
        classes += ["level"] if lag and chance(lag) else []
    if best(entries, metric, FEW) == method:
        classes.append("best-few")
    return f' class="{" ".join(classes)}"' if classes else ""


def method_cell(method: str, numbers: Mapping[str, int], note: str = "") -> str:
    name = f'{swatch(numbers[family(method)])}<span class="name">{breakable(method)}</span>{note}'
    return f'<th scope="row" data-value="{escape(method)}">{name}</th>'


def breakable(name: str) -> str:
    """A name that may be broken where its words end."""
    return re.sub("([_-])", r"\1<wbr>", escape(name))


def cost(entry: Entry) -> str:
    """Evaluations and seconds under the method's name, for a narrow screen, which has no columns for them."""
    parts = [] if entry.evaluations is None else [f"{entry.evaluations:.10g} evals"]
    parts += [] if entry.seconds is None else [f"{seconds_format(entry.seconds).format(entry.seconds)} s"]
    return f'<span class="cost-line">{", ".join(parts)}</span>'


def cost_cell(value: float | None, form: str) -> str:
    text, data = (ABSENT, "") if value is None else (form.format(value), f' data-value="{value!r}"')
    return f'<td class="cost"{data}>{text}</td>'


def seconds_format(value: float | None) -> str:
    """Three figures, and none behind the point beyond 100."""
    digits = 2 - math.floor(math.log10(value)) if value else 2
    return f"{{:.{min(max(digits, 0), 3)}f}}"


def score_cell(mean: Mean | None, decimals: int, classes: str, interval: bool = True) -> str:
    """``0.150 ± 0.007``, the interval in a second, quieter text."""
    if mean is None:
        return f"<td>{ABSENT}</td>"
    half = "" if mean.half is None or not interval else f' <span class="half">±{mean.half:.{decimals}f}</span>'
    return f'<td{classes} data-value="{mean.value!r}"><span class="mean">{mean.value:.{decimals}f}</span>{half}</td>'


def sortable(heads: Sequence[str], lines: Sequence[str]) -> str:
    """A table whose headings the script makes buttons."""
    classes = dict.fromkeys(COST_HEADS, ' class="cost"')
    columns = "".join(f'<th scope="col"{classes.get(head, "")}>{head}</th>' for head in heads)
    return f'<table class="sortable"><thead><tr>{columns}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def wrap(table: str, label: str) -> str:
    """A wide table scrolls in its own box, also by keyboard."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{table}</div>'
