"""Means and intervals over the images of a benchmark: ``summary.json`` and the table on the terminal."""

from __future__ import annotations

import json
from pathlib import Path

from ..image import write_atomically
from .report_data import Entry, Mean, read_benchmark
from .report_tables import COLUMNS, SPREAD

INTERVAL = "95 % interval of the mean over the images, by Student's t: mean ± half"


def write_summary(folder: Path) -> Path:
    """Write ``summary.json``: for each task and method the means over its images, with their intervals.

    Per restored picture: ``evaluations``, ``seconds``, ``psnr``, ``ssim``, ``lpips``, and of several samples
    ``psnr_mean``, ``psnr_std``, ``lpips_std``, ``spearman`` (see ``scores.py``) and the pooled ``calibration``.
    """
    entries = [_summary(entry) for entries in read_benchmark(folder).tasks.values() for entry in entries]
    text = json.dumps({"interval": INTERVAL, "entries": entries}, indent=2, allow_nan=False) + "\n"
    write_atomically(folder / "summary.json", lambda file: file.write(text.encode()))
    return folder / "summary.json"


def markdown(folder: Path) -> str:
    """The means as a table, ``±`` half of the 95 % interval; with samples also what they say of the uncertainty."""
    entries = [entry for entries in read_benchmark(folder).tasks.values() for entry in entries]
    spread = [column for column in SPREAD if column[0] != "samples" and any(e.spread[column[0]] for e in entries)]
    columns = [*COLUMNS, *spread]
    headings = ["Task", "Method", "Evaluations", *(heading for _, heading, _ in columns), "Seconds", "Images"]
    lines = [headings, ["---"] * len(headings)]
    for entry in entries:
        means = entry.scores | entry.spread
        figures = [_shown(means[name], decimals) for name, _, decimals in columns]
        images = str(len(entry.rows))
        lines.append([entry.task, entry.method, f"{entry.evaluations:g}", *figures, f"{entry.seconds:.3g}", images])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _summary(entry: Entry) -> dict:
    figures = {"task": entry.task, "method": entry.method, "images": len(entry.rows)}
    figures |= {"steps": entry.rows[0]["steps"], "evaluations": entry.evaluations, "seconds": entry.seconds}
    means = entry.scores | {name: mean for name, mean in entry.spread.items() if mean and name != "samples"}
    figures |= {name: mean and {"mean": mean.value, "half": mean.half} for name, mean in means.items()}
    if entry.calibration:
        figures |= {"samples": entry.rows[0]["samples"], "calibration": entry.calibration}
    return figures


def _shown(mean: Mean | None, decimals: int) -> str:
    if mean is None:
        return "n/a"
    half = "" if mean.half is None else f" ± {mean.half:.{decimals}f}"
    return f"{mean.value:.{decimals}f}{half}"
