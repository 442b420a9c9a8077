"""The results of a benchmark directory, grouped by task and method, with means and 95 % intervals over the pictures.

Only ``run.json`` and the result files are read (several files where processes have not finished), so an unfinished
benchmark is read as far as it has come.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t as student

from .store import Row, read_results

COLUMNS = (("psnr", "PSNR", 2), ("ssim", "SSIM", 3), ("lpips", "LPIPS", 3))  # key, heading, decimals
SPREAD = (  # of several samples, see scores.py
    ("samples", "Samples", 0),
    ("psnr_mean", "PSNR of the mean", 2),
    ("psnr_std", "Deviation of PSNR", 2),
    ("lpips_std", "Deviation of LPIPS", 3),
    ("spearman", "Spearman", 2),
    ("within", "Truth within their range", 3),
)
SIZES_SHOWN = 6  # of pictures, in words
FEW = 20  # evaluations: the budget within which a second "best" is marked


@dataclass(frozen=True)
class Mean:
    """A mean over pictures and its 95 % interval ``value ± half`` by Student's t; of one picture ``half`` is None."""

    value: float
    half: float | None

    def text(self, decimals: int) -> str:
        """``0.150 ± 0.007``."""
        return f"{self.value:.{decimals}f}" + ("" if self.half is None else f" ± {self.half:.{decimals}f}")


@dataclass(frozen=True)
class Entry:
    """One method on one task: its results, and their means, None of what no result has.

    ``evaluations``, ``seconds``: per image. ``memory``: the most bytes at a time (see ``runtime.peak_memory``).
    ``scores`` and ``spread`` have the keys of ``COLUMNS`` and ``SPREAD``, ``further`` those that the run asked for.
    ``calibration``: (predicted standard deviation, rms error) per bin, pooled over the images.
    """

    task: str
    method: str
    rows: tuple[Row, ...]
    evaluations: float | None
    seconds: float | None
    memory: float | None
    scores: Mapping[str, Mean | None]
    spread: Mapping[str, Mean | None]
    further: Mapping[str, Mean | None]
    calibration: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark directory: the record of its run, and per task its methods' entries, in the order of the run."""

    directory: Path
    run: Mapping[str, Any]
    tasks: Mapping[str, tuple[Entry, ...]]
    methods: tuple[str, ...]


def read_benchmark(directory: Path) -> Benchmark:
    """Read what ``invsolve bench`` wrote, finished or not; ValueError where there is nothing to show, or it is bad."""
    rows = read_results(directory).values()
    if not rows:
        raise ValueError(f"{directory} has no lines in a results.jsonl: expected the --out of invsolve bench")
    run = read_run(directory / "run.json")
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["task"], row["method"]), []).append(row)
    tasks = _in_order([task for task, _ in groups], option(run, "tasks"))
    methods = _in_order([method for _, method in groups], option(run, "methods"))
    further = [name for name in option(run, "metrics") or () if any(name in row for row in rows)]
    entries = {
        task: tuple(
            _entry(task, method, groups[task, method], further) for method in methods if (task, method) in groups
        )
        for task in tasks
    }
    return Benchmark(directory, run, entries, methods)


def read_run(path: Path) -> Mapping[str, Any]:
    """The record of a run, ``{}`` where there is no file; ValueError, naming the file, where it cannot be one."""
    if not path.is_file():
        return {}
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise ValueError(f"{path} is not the record of a benchmark: {error}") from None
    if not isinstance(run, dict):
        raise ValueError(f"{path} is not the record of a benchmark: expected an object, found {run!r:.40}")
    for name in ("tasks", "methods"):
        names = option(run, name)
        if names is not None and not (isinstance(names, list) and all(isinstance(each, str) for each in names)):
            raise ValueError(f"{path}: its {name} are {names!r:.40} but must be a list of names")
    images = option(run, "images")
    if images is not None and not (isinstance(images, dict) and isinstance(images.get("count", 0), int)):
        raise ValueError(f"{path}: its images are {images!r:.40} but must be an object with an integer count")
    return run


def option(run: Mapping[str, Any], name: str) -> Any:
    """An entry of run.json, at its top or among its options; None where it has none."""
    options = run.get("options")
    return run.get(name, options.get(name) if isinstance(options, dict) else None)


def treatment(run: Mapping[str, Any]) -> str | None:
    """What sizes the pictures have, and what was cut off before they were restored; None of a run that does not say."""
    sizes = option(run, "sizes")
    if not isinstance(sizes, Mapping) or not sizes:
        return None
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    shown = ", ".join(f"{sizes[name]} of {name}" for name in names[:SIZES_SHOWN])
    more = sum(sizes[name] for name in names[SIZES_SHOWN:])
    said = f"Pictures: {shown}{f', {more} of other sizes' if more else ''} pixels"
    reduce, size = option(run, "reduce") or 1, option(run, "size")
    if reduce > 1:
        said += f", averaged over blocks of {reduce}x{reduce}"
    cropped = size is not None and any(name != f"{size * reduce}x{size * reduce}" for name in sizes)
    said += f", of each the central {size}x{size}." if cropped else ", restored whole."
    for task, cut in (option(run, "cut") or {}).items():
        pairs = [f"{kept} of {whole}" for whole, kept in cut.items()]
        some = ", ".join([*pairs[:SIZES_SHOWN], *(["..."] if len(pairs) > SIZES_SHOWN else [])])
        said += f" At {task} the right and bottom edges were cut off: {some}."
    return said


def _in_order(names: Sequence[str], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Distinct names: first those of ``wanted``, in its order, then the others as they come."""
    return tuple(dict.fromkeys([*(name for name in wanted or () if name in names), *names]))


def _entry(task: str, method: str, rows: Sequence[Row], further: Sequence[str]) -> Entry:
    evaluations, seconds = _mean(rows, "evaluations"), _mean(rows, "seconds")
    scores, spread = ({name: _mean(rows, name) for name, _, _ in columns} for columns in (COLUMNS, SPREAD))
    curves = [row["calibration"] for row in rows if row.get("calibration")]
    memory = max((row["memory"] for row in rows if _finite(row.get("memory"))), default=None)
    costs = evaluations and evaluations.value, seconds and seconds.value, memory
    asked = {name: _mean(rows, name) for name in further}
    return Entry(task, method, tuple(rows), *costs, scores, spread, asked, pool_calibration(curves))


def _mean(rows: Sequence[Row], name: str) -> Mean | None:
    return mean_interval([row[name] for row in rows if _finite(row.get(name))])


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def mean_interval(values: Sequence[float]) -> Mean | None:
    """Mean and half-width of its 95 % interval, ``t_{0.975, n-1} s / sqrt(n)``; None without values."""
    count = len(values)
    half = float(student.ppf(0.975, count - 1)) * stdev(values) / math.sqrt(count) if count > 1 else None
    return Mean(fmean(values), half) if count else None


def pool_calibration(curves: Sequence[Sequence[Sequence[float]]]) -> tuple[tuple[float, ...], ...]:
    """Per bin the root mean squares of predicted deviation and of error over the images, whose bins are of one size."""

    return tuple(
        tuple(math.sqrt(fmean(value**2 for value in values)) for values in zip(*pairs, strict=True))
        for pairs in zip(*curves, strict=False)
    )


def best(entries: Sequence[Entry], metric: str, budget: float = math.inf) -> str | None:
    """The method of best mean, among those with as many images as any and at most ``budget`` evaluations.

    None where it would have no rival.
    """
    full = max(len(entry.rows) for entry in entries)
    sign = -1 if metric == "lpips" else 1
    rivals = [
        (sign * entry.scores[metric].value, entry.method)
        for entry in entries
        if entry.scores[metric] and len(entry.rows) == full and (entry.evaluations or 0) <= budget
    ]
    return max(rivals)[1] if len(rivals) > 1 else None


def behind(entries: Sequence[Entry], metric: str, budget: float = math.inf) -> dict[str, Mean]:
    """By how much each other method of at most ``budget`` evaluations scores otherwise than the best of them.

    The mean is over the differences on the same pictures: it is known better than the means themselves, since how hard
    a picture is cancels. Empty where none is best; a method without a picture in common with the best is left out.
    """
    winner = best(entries, metric, budget)
    scores = {
        entry.method: {row["image"]: row[metric] for row in entry.rows if _finite(row.get(metric))}
        for entry in entries
        if (entry.evaluations or 0) <= budget
    }
    reference = scores.pop(winner, {})
    lags = {
        method: mean_interval([score - reference[image] for image, score in found.items() if image in reference])
        for method, found in scores.items()
    }
    return {method: lag for method, lag in lags.items() if lag}


def chance(mean: Mean) -> bool:
    """Whether a mean difference's 95 % interval holds 0."""
    return mean.half is not None and abs(mean.value) <= mean.half
