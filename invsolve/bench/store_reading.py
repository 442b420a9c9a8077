"""Reading a benchmark's result files: ``results.jsonl``, and those of processes that have not been merged into it.

Nothing else in the directory is read, whatever it is called. Another process may be merging all the while: a part is
removed only after ``results.jsonl`` with its lines is in its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = "results.jsonl"
_PART = re.compile(r"results\.rank[0-9]+\.jsonl")

COUNTS = ("index", "steps", "evaluations", "samples")
FIGURES = (*COUNTS, "seconds", "psnr", "ssim", "lpips", "psnr_mean", "psnr_std", "lpips_std", "spearman")

Row = Mapping[str, Any]
Key = tuple[str, str, str]  # task, method, image


def part_path(folder: Path, rank: int) -> Path:
    """The file of one of several processes."""
    return folder / f"results.rank{rank}.jsonl"


def part_paths(folder: Path) -> list[Path]:
    """The files of processes that have not been merged, in the order of their names."""
    found = folder.glob("results.rank*.jsonl")
    return sorted(path for path in found if _PART.fullmatch(path.name) and path.is_file())


def result_paths(folder: Path) -> list[Path]:
    """All result files, ``results.jsonl`` first."""
    parts = part_paths(folder)  # before the other: of parts that are merged from now on, that one has the lines
    merged = folder / RESULTS
    return [merged, *parts] if merged.is_file() else parts


def read_results(folder: Path) -> dict[Key, Row]:
    """All processes' lines by (task, method, image), of repeated ones the last.

    What follows the last newline is as if it were not there, like to the next append, which cuts it off: a killed run
    left it, or another process is just writing it. ValueError on any bad line.
    """
    while True:
        rows: dict[Key, Row] = {}
        try:
            for path in result_paths(folder):
                rows |= read_rows(path)
        except FileNotFoundError:  # merged by another process since it was listed, so its lines are elsewhere
            continue
        return rows


def read_rows(path: Path) -> dict[Key, Row]:
    """The lines of one file, as :func:`read_results` gives them."""
    rows: dict[Key, Row] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines[:-1], 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows[str(row["task"]), str(row["method"]), str(row["image"])] = row
        except (json.JSONDecodeError, KeyError, TypeError):
            raise ValueError(f"{path}, line {number}: expected an object with task, method and image") from None
        wrong = [name for name in FIGURES if not _is_figure(row.get(name))]
        if wrong:
            raise ValueError(f"{path}, line {number}: {wrong[0]} is {row[wrong[0]]!r:.40} but must be a number or null")
        if not _is_curve(row.get("calibration")):
            raise ValueError(f"{path}, line {number}: calibration must be a list of pairs of numbers")
    return rows


def _is_figure(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _is_curve(value: object) -> bool:
    """Whether a line may have it for its calibration: pairs of numbers, or nothing."""
    if value is None:
        return True
    pairs = isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value)
    return pairs and all(number is not None and _is_figure(number) for pair in value for number in pair)
