"""What the report shows of a benchmark directory: its lines grouped by task and method, with means and intervals.

It reads ``run.json`` and the result files alone (several where processes have not finished), never ``summary.json``, so
that the report of an unfinished benchmark shows all that is there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import t as student

from .store_reading import Row, read_results

METRICS = ("psnr", "ssim", "lpips")
COLUMNS = (("psnr", "PSNR", 2), ("ssim", "SSIM", 3), ("lpips", "LPIPS", 3))  # key, heading, decimals
SPREAD = (
    ("samples", "Samples", 0),
    ("psnr_mean", "PSNR of the mean", 2),
    ("psnr_std", "Deviation of PSNR", 2),
    ("lpips_std", "Deviation of LPIPS", 3),
    ("spearman", "Spearman", 2),
)
FEW = 20  # evaluations: the budget within which a second "best" is marked


@dataclass(frozen=True)
class Mean:
    """A mean and its 95 % interval ``value ± half`` (Student's t); ``half`` is None of a single number."""

    value: float
    half: float | None
    count: int


@dataclass(frozen=True)
class Entry:
    """One method on one task; ``evaluations`` and ``seconds`` are per image, None where no line has them.

    ``calibration`` holds (predicted standard deviation, rms error) per bin, pooled over the images.
    """

    task: str
    method: str
    rows: tuple[Row, ...]
    evaluations: float | None
    seconds: float | None
    scores: Mapping[str, Mean | None]
    spread: Mapping[str, Mean | None]
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
    tasks = in_order((task for task, _ in groups), option(run, "tasks"))
    methods = in_order((method for _, method in groups), option(run, "methods"))
    entries = {
        task: tuple(make_entry(groups[task, method]) for method in methods if (task, method) in groups)
        for task in tasks
    }
    return Benchmark(directory, run, entries, methods)


def read_run(path: Path) -> Mapping[str, Any]:
    """The record of a run, ``{}`` where there is no file.

    ValueError, naming the file, where it is no JSON object or has something else for what the report counts with.
    """
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


def make_entry(rows: Sequence[Row]) -> Entry:
    """Means over the lines of one task and method."""
    evaluations, seconds = mean_of(rows, "evaluations"), mean_of(rows, "seconds")
    return Entry(
        rows[0]["task"],
        rows[0]["method"],
        tuple(rows),
        evaluations and evaluations.value,
        seconds and seconds.value,
        {name: mean_of(rows, name) for name in METRICS},
        {name: mean_of(rows, name) for name in ("samples", "psnr_mean", "psnr_std", "lpips_std", "spearman")},
        pool_calibration([row["calibration"] for row in rows if row.get("calibration")]),
    )


def mean_of(rows: Sequence[Row], name: str) -> Mean | None:
    """The mean of the finite numbers that the lines have under a name, None where there are none."""
    return mean_interval([row[name] for row in rows if _finite(row.get(name))])


def mean_interval(values: Sequence[float]) -> Mean | None:
    """Mean and half-width of its 95 % interval, ``t_{0.975, n-1} s / sqrt(n)``."""
    count = len(values)
    if count == 0:
        return None
    mean = math.fsum(values) / count
    if count == 1:
        return Mean(mean, None, 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    return Mean(mean, float(student.ppf(0.975, count - 1)) * deviation / math.sqrt(count), count)


def pool_calibration(curves: Sequence[Sequence[Sequence[float]]]) -> tuple[tuple[float, float], ...]:
    """Per bin the root mean squares of predicted deviation and of error over the images, whose bins are of one size."""

    def rms(values: Sequence[float]) -> float:
        return math.sqrt(math.fsum(value**2 for value in values) / len(values))

    return tuple(
        (rms([predicted for predicted, _ in bins]), rms([error for _, error in bins]))
        for bins in zip(*curves, strict=False)
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

    Empty where none is best; a method without a picture in common with the best is left out.
    """
    winner = best(entries, metric, budget)
    rivals = {entry.method: entry for entry in entries if (entry.evaluations or 0) <= budget}
    reference = rivals.pop(winner, None)
    lags = {method: difference(entry, reference, metric) for method, entry in rivals.items() if reference}
    return {method: lag for method, lag in lags.items() if lag}


def difference(entry: Entry, reference: Entry, metric: str) -> Mean | None:
    """Mean and interval of one method's score minus another's on the same pictures, None where they have none.

    It is known better than the means themselves: how hard a picture is cancels.
    """
    scores, others = _by_image(entry, metric), _by_image(reference, metric)
    return mean_interval([score - others[image] for image, score in scores.items() if image in others])


def chance(mean: Mean) -> bool:
    """Whether a mean difference's 95 % interval holds 0."""
    return mean.half is not None and abs(mean.value) <= mean.half


def _by_image(entry: Entry, metric: str) -> dict[str, float]:
    return {row["image"]: row[metric] for row in entry.rows if _finite(row.get(metric))}


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def option(run: Mapping[str, Any], name: str) -> Any:
    """An entry of run.json, at its top or among its options."""
    options = run.get("options")
    nested = options if isinstance(options, Mapping) else {}
    return run[name] if name in run else nested.get(name)


def in_order(names: Any, wanted: Any) -> tuple[str, ...]:
    """Distinct names: first those of ``wanted``, in its order, then the others as they come."""
    found = dict.fromkeys(names)
    first = [name for name in wanted if name in found] if isinstance(wanted, list) else []
    return tuple(dict.fromkeys([*first, *found]))
