"""What a benchmark leaves on disk: a line per restored image, safe from interruption and shared by processes.

A run of one process appends to ``results.jsonl``. With several, which may be on several machines with one file system,
each appends to a ``results.rankN.jsonl`` of its own: no locks, no messages, nothing to hang when one dies. Whoever
writes the last missing line merges all into ``results.jsonl``. A file of a rank is removed only when ``results.jsonl``
with its lines is in its place, so the lines may be read at any time. Files of other names are let alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, BinaryIO

from ..images.files import write_atomically

RESULTS = "results.jsonl"
RANK = re.compile(r"results\.rank[0-9]+\.jsonl")
NUMBERS = ("index", "steps", "evaluations", "samples", "seconds", "memory", "width", "height")
FIGURES = (*NUMBERS, "psnr", "ssim", "lpips", "psnr_mean", "psnr_std", "lpips_std", "spearman", "within")
TRUTH, MEASUREMENT = "truth", "measurement"  # files of a picture's folder beside those of the methods, without .png
STD = "_std"  # what follows a method's name in that of its standard deviation's file

Row = Mapping[str, Any]
Key = tuple[str, str, str]  # task, method, image
Pair = tuple[str, str]  # task, method


def file_name(method: str) -> str:
    """The name of a method's pictures, without the suffix."""
    return method.replace(":", "_")


def picture_folder(folder: Path, task: str, image: str) -> Path:
    """The folder of one picture at a task."""
    return folder / "pictures" / task / image


def picture_folders(folder: Path, task: str) -> list[Path]:
    """The folders of a task's pictures, those that have a truth."""
    return sorted(path.parent for path in picture_folder(folder, task, "").glob(f"*/{TRUTH}.png"))


def own_path(folder: Path, rank: int, count: int) -> Path:
    """Where the process of a rank, one of ``count``, appends its lines."""
    return folder / (RESULTS if count == 1 else f"results.rank{rank}.jsonl")


def has_results(folder: Path) -> bool:
    """Whether any process has left lines here."""
    return bool(_paths(folder))


def read_results(folder: Path) -> dict[Key, Row]:
    """All processes' lines by (task, method, image), of repeated ones the last.

    What follows the last newline is as if it were not there, like to the next append, which cuts it off: a killed run
    left it, or another process is just writing it. ValueError on any bad line.
    """
    while True:
        rows: dict[Key, Row] = {}
        try:
            for path in _paths(folder):
                rows |= _read(path)
        except FileNotFoundError:  # merged by another process since it was listed, so its lines are elsewhere
            continue
        return rows


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add lines and wait until they are on the disk; what an interruption left of a last line is cut off first."""
    with open(path, "a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        if file.read(1) not in (b"", b"\n"):
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        _write(file, rows)


def is_last_writer(folder: Path, own: Path) -> bool:
    """Whether no process has written a line since this one did, so that it is the one to finish the benchmark."""
    try:
        times = {path: path.stat().st_mtime_ns for path in _paths(folder)}
    except FileNotFoundError:  # another one is merging
        return False
    return own in times and times[own] == max(times.values())


def merge(folder: Path) -> None:
    """Put the lines of all processes into ``results.jsonl``, in the order of task, method and index.

    Nobody may be adding lines. Of processes that merge at the same time each writes the same, all lines, since
    ``read_results`` finds those that another has just merged.
    """
    ranks = _rank_paths(folder)
    if not ranks:
        return
    _replace(folder, sorted(read_results(folder).values(), key=lambda row: (row["task"], row["method"], row["index"])))
    for path in ranks:
        path.unlink(missing_ok=True)


def drop(folder: Path, pairs: AbstractSet[Pair]) -> None:
    """Remove the lines of some methods at some tasks, all at once, and then their pictures; nothing else changes.

    No other process may be reading or writing.
    """
    merge(folder)
    rows = read_results(folder)
    kept = [row for (task, method, _), row in rows.items() if (task, method) not in pairs]
    if len(kept) < len(rows):
        _replace(folder, kept)
    for task, method in pairs:
        for pictures in picture_folders(folder, task):
            for name in (file_name(method), file_name(method) + STD):
                (pictures / f"{name}.png").unlink(missing_ok=True)


def _rank_paths(folder: Path) -> list[Path]:
    """The files of processes that have not been merged."""
    found = folder.glob("results.rank*.jsonl")
    return sorted(path for path in found if RANK.fullmatch(path.name) and path.is_file())


def _paths(folder: Path) -> list[Path]:
    """All files of lines, ``results.jsonl`` first."""
    ranks = _rank_paths(folder)  # before the other: of those that are merged from now on, that one has the lines
    merged = folder / RESULTS
    return [merged, *ranks] if merged.is_file() else ranks


def _read(path: Path) -> dict[Key, Row]:
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
        for name in FIGURES:
            if not _is_number(row.get(name)):
                raise ValueError(f"{path}, line {number}: {name} is {row[name]!r:.40} but must be a number or null")
        if not _is_curve(row.get("calibration")):
            raise ValueError(f"{path}, line {number}: calibration must be a list of pairs of numbers")
    return rows


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _is_curve(value: object) -> bool:
    pairs = [] if value is None else value
    return isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 and None not in pair and all(map(_is_number, pair)) for pair in pairs
    )


def _replace(folder: Path, rows: Iterable[Row]) -> None:
    """Replace ``results.jsonl``; the lines are on the disk before the file has its name, and so before others go."""
    write_atomically(folder / RESULTS, lambda file: _write(file, rows))


def _write(file: BinaryIO, rows: Iterable[Row]) -> None:
    file.write("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode())
    file.flush()
    os.fsync(file.fileno())
